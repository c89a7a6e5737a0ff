-- The request log (services/api/access.py): kept for days, and not in the log of events.
CREATE TABLE vault_request (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    created_at timestamptz NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    operation text NOT NULL,
    status smallint NOT NULL CHECK (status BETWEEN 100 AND 599),
    code text,
    duration_ms integer NOT NULL,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    address text NOT NULL,               -- the network: IPv4 /24, IPv6 /48
    replayed boolean NOT NULL
);
CREATE INDEX vault_request_listed ON vault_request (workspace_id, created_at DESC, id DESC);
CREATE INDEX vault_request_refused ON vault_request (workspace_id, created_at DESC, id DESC)
    WHERE status >= 400;
CREATE INDEX vault_request_age ON vault_request (created_at);
