-- name: post
-- Mail to be sent. $1 id, $2 sealed, $3 now, $4 until when it is worth sending.
INSERT INTO vault_mail (id, sealed, created_at, due_at, expires_at) VALUES ($1, $2, $3, $3, $4)
    ON CONFLICT (id) DO NOTHING;

-- name: take_mail
-- Mail that is due, for this instance alone until $2. $1 now, $3 how many, $4 attempts at most.
UPDATE vault_mail SET due_at = $2, attempts = attempts + 1
 WHERE id = ANY (ARRAY(SELECT id FROM vault_mail
                        WHERE due_at <= $1 AND expires_at > $1 AND attempts < $4
                        ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED))
RETURNING id, sealed, attempts;

-- name: mail_sent
-- $1 id.
DELETE FROM vault_mail WHERE id = $1;

-- name: mail_failed
-- $1 id, $2 when to try again.
UPDATE vault_mail SET due_at = $2 WHERE id = $1;

-- name: mail_listed
-- The newest mail that has not gone out. $1 how many.
SELECT id, sealed, created_at FROM vault_mail ORDER BY created_at DESC, id DESC LIMIT $1;
