-- Signing secrets, sealed for "webhooks.secret:<endpoint id>". The current one has no end; those
-- that were replaced sign along until theirs.
CREATE TABLE vault_secret (
    id text PRIMARY KEY,
    endpoint_id text NOT NULL,
    workspace_id text NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE UNIQUE INDEX vault_secret_current ON vault_secret (endpoint_id) WHERE expires_at IS NULL;
CREATE INDEX vault_secret_endpoint ON vault_secret (endpoint_id);
