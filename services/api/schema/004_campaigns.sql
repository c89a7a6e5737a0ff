-- Campaigns: what they say, whom they are for, how far they are.

CREATE TABLE campaign (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    name text NOT NULL,
    template text NOT NULL,
    contact_filter jsonb NOT NULL,
    phone_ids jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('draft', 'running', 'paused', 'completed', 'cancelled')),
    test boolean NOT NULL,
    recipients integer NOT NULL CHECK (recipients >= 0),
    seq bigint NOT NULL,                 -- its newest event under its own key: what a change is guarded by
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    send_window jsonb,
    failover_s integer CHECK (failover_s >= 0),
    start_at timestamptz,
    audience_id text,                    -- whom it was started for
    acknowledged jsonb,
    started_at timestamptz,
    finished_at timestamptz,
    CHECK ((state = 'draft') = (audience_id IS NULL)),
    CHECK ((state IN ('completed', 'cancelled')) = (finished_at IS NOT NULL))
);
CREATE INDEX campaign_listed ON campaign (workspace_id, created_at DESC, id DESC);

-- The people of a start, a thousand a row, in the order of their turns.
CREATE TABLE audience (
    audience_id text NOT NULL,
    part integer NOT NULL CHECK (part >= 0),
    campaign_id text NOT NULL,
    workspace_id text NOT NULL,
    contact_ids jsonb NOT NULL,
    PRIMARY KEY (audience_id, part)
);
CREATE INDEX audience_of_campaign ON audience (campaign_id);

-- Those of them who get nothing.
CREATE TABLE skip (
    campaign_id text NOT NULL,
    contact_id text NOT NULL,
    workspace_id text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, contact_id)
);

-- Running counts: texts by state (name), failures by code, skipped by reason, dispatches by the hour
-- in UTC and the phone. A change is added to the row, so a single one may be negative: no CHECK.
CREATE TABLE campaign_count (
    campaign_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('state', 'error', 'skipped', 'dispatched')),
    name text NOT NULL,
    phone_id text NOT NULL,              -- '' where no phone is meant
    workspace_id text NOT NULL,
    count integer NOT NULL,
    PRIMARY KEY (campaign_id, kind, name, phone_id)
);

-- campaign_id never changes, so that this index costs an ordinary text nothing (001, message).
CREATE INDEX message_of_campaign ON message (campaign_id, created_at DESC, id DESC)
    WHERE campaign_id IS NOT NULL;
