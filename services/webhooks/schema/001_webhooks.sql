-- A customer's endpoint as it stands. A removed one stays as a name, so that a late save of it
-- cannot bring it back.
CREATE TABLE endpoint (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    url text NOT NULL,
    types json NOT NULL,
    enabled boolean NOT NULL,
    ordered boolean NOT NULL,
    description text NOT NULL,
    removed boolean NOT NULL,
    disabled_reason text,
    failing_since timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (NOT (enabled AND removed)),
    CHECK (NOT (enabled AND disabled_reason IS NOT NULL))
);
CREATE INDEX endpoint_workspace ON endpoint (workspace_id);

-- What every event is looked up in: the enabled endpoints of a workspace. No row, no endpoint ever.
CREATE TABLE subscription (
    workspace_id text PRIMARY KEY,
    saved_seq bigint NOT NULL,
    types jsonb NOT NULL,
    ordered jsonb NOT NULL,
    backlog jsonb NOT NULL
);

-- Whom a message goes to, for the events about it; only in workspaces that have endpoints.
CREATE TABLE message (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    to_number text NOT NULL,
    client_ref text,
    campaign_id text,
    parts integer NOT NULL,
    keep_until timestamptz NOT NULL
);
CREATE INDEX message_keep ON message (keep_until);

-- The bytes that are sent, once per event, however many endpoints and attempts.
CREATE TABLE payload (
    event_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    body text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX payload_at ON payload (at);

-- One event for one endpoint. Open: to be attempted at next_at. Closed ones wait for a replay.
CREATE TABLE delivery (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    endpoint_id text NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    ordered_by text,
    state text NOT NULL CHECK (state IN ('open', 'delivered', 'exhausted')),
    trigger text NOT NULL CHECK (trigger IN ('event', 'test', 'resend', 'replay')),
    opened_by text NOT NULL,
    attempt integer NOT NULL CHECK (attempt >= 0),
    next_at timestamptz,
    status integer,
    error text,
    CHECK ((state = 'open') = (next_at IS NOT NULL))
);
-- The actor reads what is due of one endpoint; of an ordered one, what is oldest.
CREATE INDEX delivery_due ON delivery (endpoint_id, next_at, seq)
    WHERE state = 'open' AND ordered_by IS NULL;
CREATE INDEX delivery_ordered ON delivery (endpoint_id, seq)
    WHERE state = 'open' AND ordered_by IS NOT NULL;
-- A replay takes an endpoint's deliveries since a time.
CREATE INDEX delivery_since ON delivery (endpoint_id, at, seq);
CREATE INDEX delivery_parked ON delivery (workspace_id, at) WHERE state = 'exhausted';
CREATE INDEX delivery_at ON delivery (at) WHERE state <> 'open';

-- Which delivery an attempt was of, for who wants that one made again.
CREATE TABLE attempt (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    delivery_id text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX attempt_at ON attempt (at);

-- When old rows were last removed, by the log's time, and how many were made since.
CREATE TABLE pruned (
    id text PRIMARY KEY,
    at timestamptz NOT NULL,
    made integer NOT NULL
);
