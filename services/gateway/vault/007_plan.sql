-- How many real phones the workspace's plan had room for when the link was made; null: any number.
ALTER TABLE vault_pairing ADD COLUMN phones_max integer CHECK (phones_max >= 0);
