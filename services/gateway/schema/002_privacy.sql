-- Numbers whose person was erased: whose they are now. The id is the contact's in generation 0, a
-- keyed hash of the number.
CREATE TABLE renewed (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    contact_id text NOT NULL
);
CREATE INDEX renewed_of_workspace ON renewed (workspace_id);
