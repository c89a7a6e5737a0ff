-- Long tasks: how far they are, what they were given and what they made. Progress is not history:
-- what a task changes is in the log, and nothing here is needed to build that again.

CREATE TABLE vault_task (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    actor jsonb NOT NULL,
    cause text,
    asked jsonb NOT NULL,                -- by whom it was opened; ids, no names and numbers
    upload_id text,                      -- the file it reads, gone when it has ended
    result_id text,                      -- the file it writes
    result_chunks integer NOT NULL DEFAULT 0,
    state jsonb,                         -- where it goes on after a crash: its kind's own
    done bigint NOT NULL DEFAULT 0 CHECK (done >= 0),
    total bigint CHECK (total >= 0),
    errors jsonb NOT NULL DEFAULT '[]',  -- the first of them
    errors_total bigint NOT NULL DEFAULT 0,
    summary jsonb NOT NULL DEFAULT '{}',
    token text,                          -- of the run under way: an older one's saves are refused
    starts integer NOT NULL DEFAULT 0,   -- begun so often since it last got on
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    expires_at timestamptz,
    CHECK ((status IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((finished_at IS NULL) = (expires_at IS NULL))
);
CREATE INDEX vault_task_listed ON vault_task (workspace_id, created_at DESC, id DESC);
CREATE INDEX vault_task_open ON vault_task (created_at) WHERE finished_at IS NULL;
CREATE INDEX vault_task_expiry ON vault_task (expires_at) WHERE expires_at IS NOT NULL;

-- Files in pieces, sealed, so that every instance can read what another one was sent.
CREATE TABLE vault_file (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    name text NOT NULL,
    media_type text NOT NULL,
    size bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    task_id text,                        -- whose it is; null for an upload no task has taken
    created_at timestamptz NOT NULL,
    expires_at timestamptz               -- null while a task under way needs it
);
CREATE INDEX vault_file_unclaimed ON vault_file (workspace_id) WHERE task_id IS NULL;
CREATE INDEX vault_file_expiry ON vault_file (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE vault_file_chunk (
    workspace_id text NOT NULL,
    file_id text NOT NULL REFERENCES vault_file (id) ON DELETE CASCADE,
    n integer NOT NULL CHECK (n >= 0),
    sealed bytea NOT NULL,
    PRIMARY KEY (file_id, n)
);
-- Sealed bytes cannot be compressed: do not try.
ALTER TABLE vault_file_chunk ALTER COLUMN sealed SET STORAGE EXTERNAL;
