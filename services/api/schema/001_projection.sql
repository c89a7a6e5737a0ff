-- What the API shows: rows folded from the log by services/api/project. Rebuilt at will.

CREATE TABLE workspace (
    workspace_id text PRIMARY KEY,
    name text NOT NULL,
    timezone text NOT NULL,
    region text NOT NULL,
    quiet_start text,
    quiet_end text,
    failover_s integer CHECK (failover_s >= 0),
    campaign_failover_s integer NOT NULL CHECK (campaign_failover_s >= 0),
    resend_unknown boolean NOT NULL,
    help_text text,
    opt_out_text text,
    acknowledged jsonb,
    seq bigint NOT NULL,                 -- its newest workspace.* event: what a change is guarded by
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((quiet_start IS NULL) = (quiet_end IS NULL))
);

CREATE TABLE api_key (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    name text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    hash text NOT NULL UNIQUE CHECK (length(hash) = 64),
    last_four text NOT NULL,
    scopes jsonb NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX api_key_listed ON api_key (workspace_id, created_at DESC, id DESC)
    WHERE revoked_at IS NULL;

CREATE TABLE phone (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    label text NOT NULL,
    state text NOT NULL CHECK (state IN ('online', 'late', 'offline')),
    state_at timestamptz NOT NULL,
    paired boolean NOT NULL,
    simulated boolean NOT NULL,
    manufacturer text NOT NULL,
    model text NOT NULL,
    android text NOT NULL,
    app_version text NOT NULL,
    sims jsonb NOT NULL,
    min_gap_s integer NOT NULL CHECK (min_gap_s >= 0),
    daily_cap integer NOT NULL CHECK (daily_cap >= 0),
    warmup boolean NOT NULL,
    jitter_s integer NOT NULL CHECK (jitter_s >= 0),
    acknowledged jsonb,
    seq bigint NOT NULL,                 -- its newest phone.* event
    paired_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX phone_listed ON phone (workspace_id, created_at DESC, id DESC) WHERE paired;

-- A row for everybody who was ever written to or wrote, also before anybody saved them.
CREATE TABLE contact (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    number text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('number', 'short_code', 'alphanumeric')),
    generation integer NOT NULL CHECK (generation >= 0),
    saved boolean NOT NULL,              -- somebody gave it a name; else it exists by its messages
    opted_out boolean NOT NULL,
    first_name text,
    last_name text,
    email text,
    company text,
    tags jsonb,
    custom_fields jsonb,
    timezone text,
    consent jsonb,                       -- {state, source, at, message_id} as last put on record
    seq bigint NOT NULL,                 -- its newest contact.* event, 0 before the first
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX contact_listed ON contact (workspace_id, created_at DESC, id DESC);
CREATE INDEX contact_opted_out ON contact (workspace_id, created_at DESC, id DESC) WHERE opted_out;
CREATE INDEX contact_number ON contact (workspace_id, number COLLATE "C");

-- What a contact is found by: each word of its names, folded, and each tag with # before it.
-- A table and not a full-text index, because under row-level security PostgreSQL uses an index only
-- for operators marked leakproof: comparisons are, LIKE, @@ and @> are not.
CREATE TABLE contact_word (
    workspace_id text NOT NULL,
    word text COLLATE "C" NOT NULL CHECK (word <> ''),
    contact_id text NOT NULL,
    created_at timestamptz NOT NULL,     -- the contact's, so that a tag's list comes in its order
    PRIMARY KEY (contact_id, word, workspace_id)  -- "does this contact have that word" is asked
);
CREATE INDEX contact_word_listed
    ON contact_word (workspace_id, word, created_at DESC, contact_id DESC);

-- One per contact with messages; its id is the contact's, as cnv_.
CREATE TABLE conversation (
    contact_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'closed')),
    unread integer NOT NULL CHECK (unread >= 0),
    last_message_id text NOT NULL,
    last_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
-- A list of all merges those of both states: every text moves its conversation to the front, so
-- an index less is a write less per text.
CREATE INDEX conversation_listed ON conversation
    (workspace_id, state, last_at DESC, contact_id DESC);
CREATE INDEX conversation_unread ON conversation (workspace_id, last_at DESC, contact_id DESC)
    WHERE unread > 0;

CREATE TABLE message (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    contact_id text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('outbound', 'inbound')),
    state text NOT NULL CHECK (state IN (
        'queued', 'dispatched', 'accepted', 'submitted', 'sent', 'delivered',
        'rejected', 'cancelled', 'expired', 'failed', 'unknown', 'received')),
    number text NOT NULL,                -- the other party's
    body text NOT NULL,
    parts smallint NOT NULL CHECK (parts >= 0),
    attempt smallint NOT NULL CHECK (attempt >= 0),
    seen smallint NOT NULL,              -- which facts of this attempt are here: bits of project/message.py
    test boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    source text,
    phone_id text,                       -- the phone that carries it, or that was asked for
    subscription_id integer,
    waiting_reason text,
    waiting_until timestamptz,
    error_class text,
    error_code text,
    error_detail text,
    category text,
    client_ref text,
    campaign_id text,
    send_at timestamptz,
    expires_at timestamptz,
    cancel_requested boolean,
    -- The state, where few are in it and somebody looks for them. See the indexes below.
    listed_as text GENERATED ALWAYS AS (CASE WHEN state IN (
        'queued', 'failed', 'unknown', 'rejected', 'cancelled', 'expired') THEN state END) STORED,
    CHECK ((direction = 'inbound') = (state = 'received')),
    CHECK (waiting_reason IS NULL OR state IN ('queued', 'unknown', 'failed')),
    CHECK (waiting_until IS NULL OR waiting_reason IS NOT NULL)
) WITH (fillfactor = 60);
-- A message changes some six times within seconds. An update is cheap (HOT: no index is touched) if
-- no column that any index names changes, not even in the condition of a partial one, and there is
-- room on the page. So no index names state, and only the dispatch touches indexes: it takes the
-- message out of the queued ones, puts it among the others and gives it a phone.
CREATE INDEX message_listed ON message (workspace_id, direction, created_at DESC, id DESC)
    WHERE listed_as IS NULL;
CREATE INDEX message_of_contact ON message (contact_id, created_at DESC, id DESC);
CREATE INDEX message_of_phone ON message (phone_id, created_at DESC, id DESC)
    WHERE phone_id IS NOT NULL;
CREATE INDEX message_listed_as ON message (workspace_id, listed_as, created_at DESC, id DESC)
    WHERE listed_as IS NOT NULL;

-- Messages by their ids, each by its key: planned each time, as recipients.
CREATE FUNCTION messages_by_id(ids text[]) RETURNS SETOF message
    LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    RETURN QUERY SELECT found.* FROM unnest(ids) AS wanted (id)
                  CROSS JOIN LATERAL (SELECT * FROM message m WHERE m.id = wanted.id LIMIT 1) AS found;
END $$;

-- Outbound texts before a position, newest first: those that are listed by their state merged with
-- the rest, each from its index, as far as they are asked for. PostgreSQL makes it part of the
-- statement that calls it.
CREATE FUNCTION outbound_before(at timestamptz, before text, most integer)
    RETURNS SETOF message LANGUAGE sql STABLE AS $$
    (SELECT * FROM message WHERE listed_as IS NULL AND direction = 'outbound'
        AND (created_at, id) < (at, before) ORDER BY created_at DESC, id DESC LIMIT most)
    UNION ALL
    (SELECT * FROM message WHERE listed_as = 'queued' AND (created_at, id) < (at, before)
      ORDER BY created_at DESC, id DESC LIMIT most)
    UNION ALL
    (SELECT * FROM message WHERE listed_as = 'failed' AND (created_at, id) < (at, before)
      ORDER BY created_at DESC, id DESC LIMIT most)
    UNION ALL
    (SELECT * FROM message WHERE listed_as = 'unknown' AND (created_at, id) < (at, before)
      ORDER BY created_at DESC, id DESC LIMIT most)
    UNION ALL
    (SELECT * FROM message WHERE listed_as = 'rejected' AND (created_at, id) < (at, before)
      ORDER BY created_at DESC, id DESC LIMIT most)
    UNION ALL
    (SELECT * FROM message WHERE listed_as = 'cancelled' AND (created_at, id) < (at, before)
      ORDER BY created_at DESC, id DESC LIMIT most)
    UNION ALL
    (SELECT * FROM message WHERE listed_as = 'expired' AND (created_at, id) < (at, before)
      ORDER BY created_at DESC, id DESC LIMIT most)
    ORDER BY created_at DESC, id DESC LIMIT most
$$;

-- Every fact about a message, in the order of the log.
CREATE TABLE timeline (
    message_id text NOT NULL,
    seq bigint NOT NULL,
    workspace_id text NOT NULL,
    at timestamptz NOT NULL,
    type text NOT NULL,
    detail json,
    PRIMARY KEY (message_id, seq)
);

CREATE TABLE endpoint (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    url text NOT NULL,
    types jsonb NOT NULL,
    enabled boolean NOT NULL,
    ordered boolean NOT NULL,
    description text NOT NULL,
    disabled_reason text,
    seq bigint NOT NULL,                 -- its newest webhook.endpoint_* event
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (enabled OR disabled_reason IS NOT NULL)
);
CREATE INDEX endpoint_listed ON endpoint (workspace_id, created_at DESC, id DESC);

CREATE TABLE attempt (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    endpoint_id text NOT NULL,
    delivery_id text NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    attempt integer NOT NULL,
    trigger text NOT NULL,
    outcome text NOT NULL,
    url text NOT NULL,
    duration_ms integer NOT NULL,
    status integer,
    error text,
    response text,
    next_at timestamptz,
    at timestamptz NOT NULL
);
CREATE INDEX attempt_listed ON attempt (endpoint_id, at DESC, id DESC);
