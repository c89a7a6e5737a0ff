-- name: task_open
-- A task, unless the same request made it before. $1 id, $2 workspace, $3 kind, $4 actor, $5 cause,
-- $6 what is asked, $7 upload, $8 total, $9 now.
INSERT INTO vault_task
    (id, workspace_id, kind, status, actor, cause, asked, upload_id, total, created_at)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING;

-- name: tasks_open
-- How many tasks of the workspace have not ended.
SELECT count(*) FROM vault_task WHERE finished_at IS NULL;

-- name: task
-- One task, with the name and kind of its result. $1 id.
SELECT t.*, f.name AS result_name, f.media_type AS result_type
  FROM vault_task t LEFT JOIN vault_file f ON f.id = t.result_id WHERE t.id = $1;

-- name: tasks
-- Newest first. $1, $2 position; $3 how many.
SELECT t.*, f.name AS result_name, f.media_type AS result_type
  FROM vault_task t LEFT JOIN vault_file f ON f.id = t.result_id
 WHERE (t.created_at, t.id) < ($1, $2)
 ORDER BY t.created_at DESC, t.id DESC LIMIT $3;

-- name: tasks_due
-- Unfinished ones of all workspaces, the oldest first. $1 how many.
SELECT id, workspace_id, kind FROM vault_task
 WHERE finished_at IS NULL ORDER BY created_at LIMIT $1;

-- name: task_begin
-- Run it from here on, and nobody else. $1 id, $2 token.
UPDATE vault_task SET status = 'running', token = $2, starts = starts + 1
 WHERE id = $1 AND finished_at IS NULL RETURNING *;

-- name: task_forgive
-- A start that outages ended does not count. $1 id, $2 token.
UPDATE vault_task SET starts = greatest(starts - 1, 0) WHERE id = $1 AND token = $2;

-- name: task_save
-- How far it is; no row if another run has taken over or it was cancelled. $1 id, $2 token, $3 done,
-- $4 total, $5 state, $6 errors, $7 how many there were, $8 summary, $9 result, $10 its chunks.
UPDATE vault_task
   SET done = $3, total = $4, state = $5, errors = $6, errors_total = $7, summary = $8,
       result_id = $9, result_chunks = $10, starts = 0
 WHERE id = $1 AND token = $2 AND finished_at IS NULL RETURNING id;

-- name: task_finish
-- It has ended. $1 id, $2 token, $3 status, $4 now, $5 when it is forgotten.
UPDATE vault_task SET status = $3, finished_at = $4, expires_at = $5, state = NULL
 WHERE id = $1 AND token = $2 AND finished_at IS NULL RETURNING id;

-- name: task_cancel
-- End it from outside. $1 id, $2 now, $3 when it is forgotten.
UPDATE vault_task SET status = 'cancelled', finished_at = $2, expires_at = $3, state = NULL
 WHERE id = $1 AND finished_at IS NULL RETURNING upload_id;

-- name: tasks_forget
-- Ended ones whose time is over. $1 now, $2 how many at once.
DELETE FROM vault_task WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM vault_task WHERE expires_at <= $1 LIMIT $2));

-- name: file_open
-- A file without content. $1 id, $2 workspace, $3 name, $4 media type, $5 now, $6 expiry or null,
-- $7 task or null.
INSERT INTO vault_file (id, workspace_id, name, media_type, created_at, expires_at, task_id)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: file_chunk
-- A piece of it. $1 workspace, $2 file, $3 number, $4 sealed bytes.
INSERT INTO vault_file_chunk (workspace_id, file_id, n, sealed) VALUES ($1, $2, $3, $4);

-- name: file_grow
-- It has become longer. $1 file, $2 bytes.
UPDATE vault_file SET size = size + $2 WHERE id = $1;

-- name: file_claim
-- An upload is a task's from here on. $1 file, $2 task.
UPDATE vault_file SET task_id = $2, expires_at = NULL WHERE id = $1;

-- name: file_keep
-- Until then. $1 file, $2 expiry.
UPDATE vault_file SET expires_at = $2 WHERE id = $1;

-- name: file_read
-- One piece. $1 file, $2 number.
SELECT sealed FROM vault_file_chunk WHERE file_id = $1 AND n = $2;

-- name: files_held
-- How many files of the workspace no task has taken.
SELECT count(*) FROM vault_file WHERE task_id IS NULL;

-- name: file_drop
-- Delete it. $1 file.
DELETE FROM vault_file WHERE id = $1;

-- name: files_forget
-- Files whose time is over. $1 now, $2 how many at once.
DELETE FROM vault_file WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM vault_file WHERE expires_at <= $1 LIMIT $2));
