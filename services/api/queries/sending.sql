-- name: recipients
-- What sending must know of contacts; the function sets whose rows it sees. $1 workspace, $2 ids.
SELECT * FROM recipients($1, $2::text[]);

-- name: handsets
-- What sending must know of phones. $1 ids.
SELECT id, paired, simulated FROM phone WHERE id = ANY($1::text[]);

-- name: messages_by_id
-- Messages, whatever their state. $1 ids.
SELECT * FROM messages_by_id($1::text[]);
