-- Campaigns under way: their rules, whom they are for, and which texts are theirs.

CREATE TABLE campaign (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('draft', 'running', 'paused', 'completed', 'cancelled')),
    seq bigint NOT NULL,                 -- its newest event under its own key: what feeding is guarded by
    send_window jsonb,
    phone_ids jsonb NOT NULL,
    failover_s integer CHECK (failover_s >= 0),
    start_at timestamptz,
    audience_id text,
    recipients integer NOT NULL CHECK (recipients >= 0),
    test boolean NOT NULL
);
CREATE INDEX campaign_live ON campaign (state) WHERE state IN ('running', 'paused', 'cancelled');

-- The people of a start, a thousand a row, in the order of their turns: whose turn has come is told
-- by the messages and skips there are. A row a person would make a start a heavy batch.
CREATE TABLE audience (
    audience_id text NOT NULL,
    part integer NOT NULL CHECK (part >= 0),
    campaign_id text NOT NULL,
    workspace_id text NOT NULL,
    contact_ids jsonb NOT NULL,
    PRIMARY KEY (audience_id, part)
);
CREATE INDEX audience_of_campaign ON audience (campaign_id);

CREATE TABLE skip (
    campaign_id text NOT NULL,
    contact_id text NOT NULL,
    workspace_id text NOT NULL,
    PRIMARY KEY (campaign_id, contact_id)
);

ALTER TABLE message ADD COLUMN campaign_id text;
CREATE INDEX message_of_campaign ON message (campaign_id) WHERE campaign_id IS NOT NULL;
