-- name: renewed
-- Whose numbers are since their persons were erased. $1 the contacts in generation 0.
SELECT id, contact_id, generation FROM renewed WHERE id = ANY($1::text[]);

-- name: privacy_requests
-- Newest first, with how far they are. $1, $2 position; $3 how many.
SELECT r.*, v.found, v.deleted, v.counts AS counted
  FROM (SELECT * FROM privacy_request WHERE (created_at, id) < ($1, $2)
         ORDER BY created_at DESC, id DESC LIMIT $3) AS r
  LEFT JOIN vault_erasure v ON v.request_id = r.id
 ORDER BY r.created_at DESC, r.id DESC;

-- name: privacy_request
-- One request with how far it is. $1 id.
SELECT r.*, v.found, v.deleted, v.counts AS counted
  FROM privacy_request r LEFT JOIN vault_erasure v ON v.request_id = r.id WHERE r.id = $1;

-- name: open_erasures
-- What is not done, oldest first. $1 how many.
SELECT * FROM privacy_request WHERE state <> 'done' AND kind = 'erasure'
 ORDER BY created_at, id LIMIT $1;

-- name: contact_to_erase
-- A contact as an erasure must know it. $1 id.
SELECT * FROM contact WHERE id = $1;

-- name: count_contact
-- What of a contact is shown. $1 id.
SELECT (SELECT count(*) FROM contact WHERE id = $1) AS contacts,
       (SELECT count(*) FROM conversation WHERE contact_id = $1) AS conversations,
       (SELECT count(*) FROM message WHERE contact_id = $1) AS messages,
       (SELECT count(*) FROM timeline t JOIN message m ON m.id = t.message_id
         WHERE m.contact_id = $1) AS facts;

-- name: begin_erasure
-- An erasure is taken up, once. $1 request, $2 workspace, $3 counts, $4 now.
INSERT INTO vault_erasure (request_id, workspace_id, counts, updated_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (request_id) DO NOTHING;

-- name: found_in_log
-- More was found in the log that must go. $1 request, $2 how many, $3 counts, $4 now.
UPDATE vault_erasure SET found = deleted + $2, counts = counts || $3, updated_at = $4
 WHERE request_id = $1;

-- name: deleted_from_log
-- $1 request, $2 how many more, $3 now.
UPDATE vault_erasure SET deleted = deleted + $2, updated_at = $3 WHERE request_id = $1;

-- name: erasure
-- How far one is. $1 request.
SELECT found, deleted, counts FROM vault_erasure WHERE request_id = $1;

-- name: drop_results
-- Files that ended tasks of a workspace made hold people as they were. $1 workspace.
WITH done AS (
    UPDATE vault_task t SET result_id = NULL
      FROM vault_task was
     WHERE t.id = was.id AND t.workspace_id = $1 AND t.finished_at IS NOT NULL
       AND was.result_id IS NOT NULL
    RETURNING was.result_id)
DELETE FROM vault_file f USING done WHERE f.id = done.result_id;

-- name: begin_again
-- Tasks under way that write down people as they find them, and read no upload: from the start,
-- so that nobody is in their file who was erased meanwhile. $1 workspace.
WITH begun AS (
    UPDATE vault_task t
       SET token = NULL, status = 'queued', state = NULL, done = 0, result_id = NULL,
           result_chunks = 0
      FROM vault_task was
     WHERE t.id = was.id AND t.workspace_id = $1 AND t.finished_at IS NULL
       AND t.upload_id IS NULL AND was.result_id IS NOT NULL
    RETURNING was.result_id)
DELETE FROM vault_file f USING begun WHERE f.id = begun.result_id;

-- name: kept_answers
-- Answers kept for repeated requests, page by page. $1 workspace, $2, $3 position, $4 how many.
SELECT operation, key, answer FROM vault_idempotency
 WHERE workspace_id = $1 AND answer IS NOT NULL AND (operation, key) > ($2, $3)
 ORDER BY operation, key LIMIT $4;

-- name: replace_answer
-- What a repeated request hears from now on. $1 workspace, $2 operation, $3 key, $4 what it was,
-- $5 status, $6 what it is.
UPDATE vault_idempotency SET status = $5, answer = $6
 WHERE workspace_id = $1 AND operation = $2 AND key = $3 AND answer = $4;
