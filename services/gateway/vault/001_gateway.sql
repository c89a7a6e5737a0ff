-- Pairings: a token's hash, which device took it, and whether it has its credential.
CREATE TABLE vault_pairing (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    token_hash text NOT NULL UNIQUE,
    label text NOT NULL,
    expires_at timestamptz NOT NULL,
    device_hash text,
    phone_id text,
    completed_at timestamptz,
    CHECK (completed_at IS NULL OR device_hash IS NOT NULL),
    CHECK ((device_hash IS NULL) = (phone_id IS NULL))
);
CREATE INDEX pairing_of_workspace ON vault_pairing (workspace_id, expires_at);

-- One credential a phone: the one of its newest pairing, as a hash.
CREATE TABLE vault_credential (
    phone_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    hash text NOT NULL UNIQUE,
    generation integer NOT NULL CHECK (generation > 0)
);

-- How far a journal was acknowledged where its last entries made no event (heartbeats).
CREATE TABLE vault_journal (
    phone_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    generation integer NOT NULL CHECK (generation > 0),
    head bigint NOT NULL CHECK (head > 0)
);

-- Parts reported one by one: an event is made when all are there.
CREATE TABLE vault_parts (
    command_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    sent smallint[] NOT NULL DEFAULT '{}',
    delivered smallint[] NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX parts_by_age ON vault_parts (updated_at);
