-- What must not be in the log: answers kept for repeated requests, and when a key was last used.

-- One row per Idempotency-Key in use: without a status while it runs, then with the answer, sealed.
-- claimed_at stays through a crash and the retry after it: ids are derived from it.
CREATE TABLE vault_idempotency (
    workspace_id text NOT NULL,
    operation text NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    claimed_at timestamptz NOT NULL,
    running_until timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    status integer CHECK (status BETWEEN 200 AND 499),
    answer bytea,
    PRIMARY KEY (workspace_id, operation, key),
    CHECK ((status IS NULL) = (answer IS NULL))
);
CREATE INDEX vault_idempotency_expiry ON vault_idempotency (expires_at);

CREATE TABLE vault_key_use (
    key_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    last_used_at timestamptz NOT NULL
);
