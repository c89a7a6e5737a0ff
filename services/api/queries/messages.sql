-- name: messages
-- Newest first, out and in merged. $1, $2 where the page before ended; $3 how many.
SELECT * FROM (
    (SELECT * FROM message WHERE direction = 'outbound' AND (created_at, id) < ($1, $2)
      ORDER BY created_at DESC, id DESC LIMIT $3)
    UNION ALL
    (SELECT * FROM message WHERE direction = 'inbound' AND (created_at, id) < ($1, $2)
      ORDER BY created_at DESC, id DESC LIMIT $3)
    ) AS m
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: messages_by_direction
-- $1 direction; $2, $3 position; $4 how many.
SELECT * FROM message WHERE direction = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: messages_listed_as
-- In a state that few are in. $1 state; $2, $3 position; $4 how many.
SELECT * FROM message WHERE listed_as = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: messages_of_contact
-- $1 contact; $2, $3 position; $4 how many.
SELECT * FROM message WHERE contact_id = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: messages_of_phone
-- $1 phone; $2, $3 position; $4 how many.
SELECT * FROM message WHERE phone_id = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC LIMIT $4;

-- Where further filters apply, only the next so many of the index's rows are looked at (page.py,
-- SIEVED_MAX): a filter that nothing passes must not go through millions. Each of these has a
-- companion that says where the looking ended.

-- name: messages_in_state
-- $1 state of an outbound message; $2, $3 position; $4 how many; $5 how many to look at.
SELECT * FROM (
    SELECT * FROM message WHERE direction = 'outbound' AND (created_at, id) < ($2, $3)
     ORDER BY created_at DESC, id DESC LIMIT $5) AS seen
 WHERE state = $1 ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: messages_in_state_end
-- $1, $2 position; $3 how many were looked at, less one.
SELECT created_at, id FROM message WHERE direction = 'outbound' AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC OFFSET $3 LIMIT 1;

-- name: messages_of_contact_sieved
-- $1 contact; $2 state, $3 phone, $4 direction, each or null; $5, $6 position; $7 how many;
-- $8 how many to look at.
SELECT * FROM (
    SELECT * FROM message WHERE contact_id = $1 AND (created_at, id) < ($5, $6)
     ORDER BY created_at DESC, id DESC LIMIT $8) AS seen
 WHERE ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR phone_id = $3)
   AND ($4::text IS NULL OR direction = $4)
 ORDER BY created_at DESC, id DESC LIMIT $7;

-- name: messages_of_contact_end
-- $1 contact; $2, $3 position; $4 how many were looked at, less one.
SELECT created_at, id FROM message WHERE contact_id = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC OFFSET $4 LIMIT 1;

-- name: messages_of_phone_sieved
-- $1 phone; $2 state, $3 direction, each or null; $4, $5 position; $6 how many; $7 how many to
-- look at.
SELECT * FROM (
    SELECT * FROM message WHERE phone_id = $1 AND (created_at, id) < ($4, $5)
     ORDER BY created_at DESC, id DESC LIMIT $7) AS seen
 WHERE ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR direction = $3)
 ORDER BY created_at DESC, id DESC LIMIT $6;

-- name: messages_of_phone_end
-- $1 phone; $2, $3 position; $4 how many were looked at, less one.
SELECT created_at, id FROM message WHERE phone_id = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC OFFSET $4 LIMIT 1;

-- name: timeline
-- Every fact about a message. $1 message.
SELECT seq, at, type, detail FROM timeline WHERE message_id = $1 ORDER BY seq LIMIT 1000;
