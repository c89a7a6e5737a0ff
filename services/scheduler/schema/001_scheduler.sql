-- What the scheduler knows: who may send, what waits, and for which phone.

CREATE TABLE workspace (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    timezone text NOT NULL,
    quiet_start text,
    quiet_end text,
    failover_s integer CHECK (failover_s >= 0),
    campaign_failover_s integer NOT NULL CHECK (campaign_failover_s >= 0),
    resend_unknown boolean NOT NULL,
    CHECK ((quiet_start IS NULL) = (quiet_end IS NULL))
);

CREATE TABLE phone (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    label text NOT NULL,
    state text NOT NULL CHECK (state IN ('online', 'late', 'offline', 'unpaired')),
    state_at timestamptz NOT NULL,
    simulated boolean NOT NULL,
    age_from timestamptz NOT NULL,       -- a new SIM begins its warm-up again
    iccids jsonb NOT NULL,
    min_gap_s integer NOT NULL CHECK (min_gap_s >= 0),
    jitter_s integer NOT NULL CHECK (jitter_s >= 0),
    daily_cap integer NOT NULL CHECK (daily_cap >= 0),
    warmup boolean NOT NULL,
    last_dispatch_at timestamptz,
    last_command_id text,                -- the jitter of its gap hangs on it
    recent jsonb NOT NULL,               -- [[epoch seconds, parts], …] of the last minute
    day text NOT NULL,                   -- local date that sent_today counts for
    sent_today integer NOT NULL CHECK (sent_today >= 0),
    in_flight integer NOT NULL CHECK (in_flight >= 0)  -- dispatched, not yet submitted or given back
);
CREATE INDEX phone_of_workspace ON phone (workspace_id);

CREATE TABLE contact (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    opted_out boolean NOT NULL,
    timezone text,
    phone_id text,                       -- the phone it last spoke with: people see one number
    seq bigint NOT NULL                  -- its newest contact.* event: what a dispatch is guarded by
);
CREATE INDEX contact_of_phone ON contact (phone_id) WHERE phone_id IS NOT NULL;

CREATE TABLE message (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    contact_id text NOT NULL,
    to_number text NOT NULL,
    body text NOT NULL,
    parts integer NOT NULL CHECK (parts BETWEEN 1 AND 10),
    source text NOT NULL,
    lane integer NOT NULL,
    phone_id text,                       -- the phone the request names
    subscription_id integer,
    test boolean NOT NULL,
    timezone text,
    requested_seq bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    -- waiting: in a queue. dispatched: with a phone. submitted: may be on the air.
    -- open: a person or a rule must decide next. final: nothing more to do.
    state text NOT NULL CHECK (state IN ('waiting', 'dispatched', 'submitted', 'open', 'final')),
    queue text NOT NULL,                 -- a phone's id, or the workspace's for any phone
    wake_at timestamptz NOT NULL,        -- not before
    reason text,                         -- why it waits, as last put on record
    until timestamptz,
    attempt integer NOT NULL CHECK (attempt >= 0),
    command_id text,
    dispatched_to text,
    dispatched_at timestamptz,
    accepted boolean NOT NULL,
    cancel text CHECK (cancel IN ('user', 'failover', 'expired')),
    outcome text,                        -- what made it open: an error class, cancelled, unknown …
    CHECK (state <> 'dispatched' OR command_id IS NOT NULL)
);
CREATE INDEX message_queue ON message (queue, lane, wake_at, requested_seq) WHERE state = 'waiting';
CREATE INDEX message_unexplained ON message (queue, requested_seq)
    WHERE state = 'waiting' AND reason IS NULL;
CREATE INDEX message_expiry ON message (expires_at) WHERE state IN ('waiting', 'dispatched');
CREATE INDEX message_recalled ON message (expires_at)
    WHERE state = 'dispatched' AND cancel IS NOT NULL AND NOT accepted;
CREATE INDEX message_open ON message (requested_seq) WHERE state = 'open';
CREATE INDEX message_overtaken ON message (requested_seq)
    WHERE state = 'dispatched' AND outcome = 'cancelled';
CREATE INDEX message_with_phone ON message (dispatched_to)
    WHERE state IN ('dispatched', 'submitted');
