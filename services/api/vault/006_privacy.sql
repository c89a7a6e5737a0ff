-- How far erasures are that are under way: read by whoever asked, and by who takes one up again
-- after a crash. What is still to be deleted is what the log still holds.
CREATE TABLE vault_erasure (
    request_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    found integer NOT NULL DEFAULT 0,    -- events in the log
    deleted integer NOT NULL DEFAULT 0,
    counts jsonb NOT NULL DEFAULT '{}',  -- store → what → how many, as far as counted
    updated_at timestamptz NOT NULL
);
