-- name: recipients
-- What sending must know of contacts; the function sets whose rows it sees. $1 workspace, $2 ids.
SELECT * FROM recipients($1, $2::text[]);

-- name: handsets
-- What sending must know of phones. $1 ids.
SELECT id, paired, simulated FROM phone WHERE id = ANY($1::text[]);

-- name: messages_by_id
-- Messages, whatever their state, each by its key (see the function recipients). $1 ids.
SELECT found.* FROM unnest($1::text[]) AS wanted (id)
 CROSS JOIN LATERAL (SELECT * FROM message m WHERE m.id = wanted.id LIMIT 1) AS found;
