-- Received texts, open until their reply.received is in the log; then emptied, kept as "was here".
CREATE TABLE incoming (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    contact_id text NOT NULL,
    open boolean NOT NULL,
    seq bigint NOT NULL,
    event_id text NOT NULL,
    phone_id text NOT NULL,
    subscription_id integer,
    sender text NOT NULL,
    sender_kind text NOT NULL,
    body text NOT NULL,
    parts integer NOT NULL,
    received_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    CHECK (open OR (sender = '' AND body = ''))
);
-- The actor reads the open ones, oldest first.
CREATE INDEX incoming_open ON incoming (seq) WHERE open;

-- Consent as it stands, and when the last automatic answer of each kind was given.
CREATE TABLE contact (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    opted_out boolean NOT NULL,
    consent_message_id text,
    confirmed_at timestamptz,
    helped_at timestamptz
);

-- What automatic answers say.
CREATE TABLE workspace (
    workspace_id text PRIMARY KEY,
    name text NOT NULL,
    help_text text,
    opt_out_text text
);
