-- name: phones
-- Paired phones, newest first. $1, $2 position; $3 how many.
SELECT * FROM phone WHERE paired AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: phone
-- One phone, also an unpaired one. $1 id.
SELECT * FROM phone WHERE id = $1;

-- name: labels
-- What phones are called. $1 ids.
SELECT id, label FROM phone WHERE id = ANY($1::text[]);
