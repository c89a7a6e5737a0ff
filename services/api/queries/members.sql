-- name: memberships
-- The workspaces somebody is in, the first joined first. $1 user.
SELECT m.workspace_id, m.id, m.role, w.name FROM member m
  JOIN workspace w ON w.workspace_id = m.workspace_id
 WHERE m.user_id = $1 AND m.state = 'active' ORDER BY m.joined_at, m.id;

-- name: member_history
-- Every membership somebody has or had. $1 user.
SELECT workspace_id, state, removed_at FROM member WHERE user_id = $1;

-- name: invitations
-- Where an address is invited to. $1 e-mail.
SELECT id, workspace_id, email, role, seq, created_at FROM member
 WHERE email = $1 AND state = 'invited' ORDER BY created_at, id;

-- name: workspace_exists
-- Whether a workspace is there, and whether anybody is or was in it. $1 workspace.
SELECT EXISTS (SELECT FROM workspace WHERE workspace_id = $1)
       AND NOT EXISTS (SELECT FROM member WHERE workspace_id = $1);

-- name: lock_person
-- One enrolment of a person at a time, until the transaction ends. $1 user.
SELECT pg_advisory_xact_lock(hashtextextended('api.user:' || $1, 0));

-- name: members
-- The team and who is invited, newest first. $1 and $2 where the page before ended, $3 how many.
SELECT * FROM member WHERE state <> 'removed' AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: team
-- Everybody in the workspace and everybody invited.
SELECT * FROM member WHERE state <> 'removed';

-- name: team_seq
-- The newest event about the team, 0 before any: what a change of it is guarded by.
SELECT coalesce(max(seq), 0) FROM member;

-- name: member
-- One who is there or invited. $1 id.
SELECT * FROM member WHERE id = $1 AND state <> 'removed';
