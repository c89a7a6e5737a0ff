-- What a replay leaves alone.
CREATE TABLE vault_secret (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    word text NOT NULL
);
