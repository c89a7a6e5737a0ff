-- The workspace's event feed and its audit list.

-- What happened besides texts (services/api/project/audit.py): ids only.
CREATE TABLE audit (
    workspace_id text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    type text NOT NULL,
    target text NOT NULL,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    listed boolean NOT NULL,             -- somebody did it: it is on the audit list
    cause text,                          -- the request or the event that led to it
    PRIMARY KEY (workspace_id, seq)
);
CREATE INDEX audit_of_target ON audit (workspace_id, target, seq DESC);
CREATE INDEX audit_of_actor ON audit (workspace_id, actor_id, seq DESC) WHERE listed;
CREATE INDEX audit_of_type ON audit (workspace_id, type, seq DESC) WHERE listed;

-- The feed goes through a workspace's facts in the order of the log.
CREATE INDEX timeline_fed ON timeline (workspace_id, seq, type);
