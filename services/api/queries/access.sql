-- name: log_requests
-- One array per column.
INSERT INTO vault_request (id, workspace_id, created_at, method, path, operation, status, code,
                           duration_ms, actor_kind, actor_id, address, replayed)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
                     $7::smallint[], $8::text[], $9::integer[], $10::text[], $11::text[],
                     $12::text[], $13::boolean[])
    ON CONFLICT (id) DO NOTHING;

-- name: forget_requests
-- Those made before $1; $2 how many at once.
DELETE FROM vault_request WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM vault_request WHERE created_at <= $1 LIMIT $2));

-- name: requests
-- Newest first. $1, $2 lowest and highest status, $3 actor, $4 path, $5 method, each or null;
-- $6, $7 position; $8 how many; $9 how many to look at.
SELECT * FROM (
    SELECT * FROM vault_request WHERE (created_at, id) < ($6, $7)
     ORDER BY created_at DESC, id DESC LIMIT $9) AS seen
 WHERE ($1::smallint IS NULL OR status BETWEEN $1 AND $2)
   AND ($3::text IS NULL OR actor_id = $3) AND ($4::text IS NULL OR path = $4)
   AND ($5::text IS NULL OR method = $5)
 ORDER BY created_at DESC, id DESC LIMIT $8;

-- name: requests_end
-- $1, $2 position; $3 how many were looked at, less one.
SELECT created_at, id FROM vault_request WHERE (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC OFFSET $3 LIMIT 1;

-- name: refused_requests
-- As requests, of those that were refused or failed.
SELECT * FROM (
    SELECT * FROM vault_request WHERE status >= 400 AND (created_at, id) < ($6, $7)
     ORDER BY created_at DESC, id DESC LIMIT $9) AS seen
 WHERE ($1::smallint IS NULL OR status BETWEEN $1 AND $2)
   AND ($3::text IS NULL OR actor_id = $3) AND ($4::text IS NULL OR path = $4)
   AND ($5::text IS NULL OR method = $5)
 ORDER BY created_at DESC, id DESC LIMIT $8;

-- name: refused_requests_end
-- $1, $2 position; $3 how many were looked at, less one.
SELECT created_at, id FROM vault_request WHERE status >= 400 AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC OFFSET $3 LIMIT 1;

-- name: request
-- One request. $1 id.
SELECT * FROM vault_request WHERE id = $1;
