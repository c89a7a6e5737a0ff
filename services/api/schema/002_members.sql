-- Who is in a workspace, or was invited to it. A row that was removed stays for its seq: a change of
-- the team is decided on the newest member.* event of the workspace.
CREATE TABLE member (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    email text NOT NULL CHECK (email = lower(email)),
    role text NOT NULL CHECK (role IN ('owner', 'member')),
    state text NOT NULL CHECK (state IN ('invited', 'active', 'removed')),
    user_id text,
    seq bigint NOT NULL,
    created_at timestamptz NOT NULL,
    joined_at timestamptz,
    removed_at timestamptz,
    CHECK (state <> 'active' OR (user_id IS NOT NULL AND joined_at IS NOT NULL)),
    CHECK ((state = 'removed') = (removed_at IS NOT NULL))
);
CREATE INDEX member_listed ON member (workspace_id, created_at DESC, id DESC) WHERE state <> 'removed';
CREATE INDEX member_newest ON member (workspace_id, seq);
CREATE INDEX member_user ON member (user_id);
CREATE INDEX member_invitation ON member (email) WHERE state = 'invited';
