-- name: messages
-- Newest first. $1 direction or null; $2, $3 where the page before ended; $4 how many.
SELECT * FROM message
 WHERE (created_at, id) < ($2, $3) AND ($1::text IS NULL OR direction = $1)
 ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: messages_of_contact
-- $1 contact; $2 state, $3 phone, $4 direction, each or null; $5, $6 position; $7 how many.
SELECT * FROM message
 WHERE contact_id = $1 AND (created_at, id) < ($5, $6)
   AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR phone_id = $3)
   AND ($4::text IS NULL OR direction = $4)
 ORDER BY created_at DESC, id DESC LIMIT $7;

-- name: messages_of_phone
-- $1 phone; $2 state, $3 direction, each or null; $4, $5 position; $6 how many.
SELECT * FROM message
 WHERE phone_id = $1 AND (created_at, id) < ($4, $5)
   AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR direction = $3)
 ORDER BY created_at DESC, id DESC LIMIT $6;

-- name: messages_in_state
-- $1 state; $2 direction or null; $3, $4 position; $5 how many.
SELECT * FROM message
 WHERE state = $1 AND (created_at, id) < ($3, $4) AND ($2::text IS NULL OR direction = $2)
 ORDER BY created_at DESC, id DESC LIMIT $5;

-- name: timeline
-- Every fact about a message. $1 message.
SELECT seq, at, type, detail FROM timeline WHERE message_id = $1 ORDER BY seq LIMIT 1000;
