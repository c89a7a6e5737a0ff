-- name: endpoints
-- Newest first. $1, $2 position; $3 how many.
SELECT * FROM endpoint WHERE (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: endpoint
-- One endpoint. $1 id.
SELECT * FROM endpoint WHERE id = $1;

-- name: attempts
-- Of one endpoint, newest first. $1 endpoint; $2, $3 position; $4 how many.
SELECT * FROM attempt WHERE endpoint_id = $1 AND (at, id) < ($2, $3)
 ORDER BY at DESC, id DESC LIMIT $4;

-- name: attempt
-- One attempt. $1 id.
SELECT * FROM attempt WHERE id = $1;
