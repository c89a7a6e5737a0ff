-- name: messages
-- Newest first, out and in merged. $1, $2 where the page before ended; $3 how many.
SELECT * FROM (
    SELECT * FROM outbound_before($1, $2, $3)
    UNION ALL
    (SELECT * FROM message WHERE listed_as IS NULL AND direction = 'inbound'
        AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3)) AS m
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: messages_outbound
-- $1, $2 position; $3 how many.
SELECT * FROM outbound_before($1, $2, $3) ORDER BY created_at DESC, id DESC;

-- name: messages_inbound
-- $1, $2 position; $3 how many.
SELECT * FROM message
 WHERE listed_as IS NULL AND direction = 'inbound' AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

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

-- name: messages_of_campaign
-- $1 campaign; $2, $3 position; $4 how many.
SELECT * FROM message WHERE campaign_id = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC LIMIT $4;

-- Where further filters apply, only the next so many of the index's rows are looked at (page.py,
-- SIEVED_MAX): a filter that nothing passes must not go through millions. Each of these has a
-- companion that says where the looking ended.

-- name: messages_in_state
-- $1 state of an outbound message that is not listed by it; $2, $3 position; $4 how many; $5 how many to look at.
SELECT * FROM (
    SELECT * FROM message
     WHERE listed_as IS NULL AND direction = 'outbound' AND (created_at, id) < ($2, $3)
     ORDER BY created_at DESC, id DESC LIMIT $5) AS seen
 WHERE state = $1 ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: messages_in_state_end
-- $1, $2 position; $3 how many were looked at, less one.
SELECT created_at, id FROM message
 WHERE listed_as IS NULL AND direction = 'outbound' AND (created_at, id) < ($1, $2)
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

-- name: messages_of_contact_after
-- Going the other way, the oldest first. $1 contact; $2, $3 position; $4 how many.
SELECT * FROM message WHERE contact_id = $1 AND (created_at, id) > ($2, $3)
 ORDER BY created_at, id LIMIT $4;

-- name: messages_of_contact_found
-- Of the next so many texts of a contact those with all words $2 in them. $1 contact; $3, $4
-- position; $5 how many; $6 how many to look at.
SELECT * FROM (
    SELECT * FROM message WHERE contact_id = $1 AND (created_at, id) < ($3, $4)
     ORDER BY created_at DESC, id DESC LIMIT $6) AS seen
 WHERE NOT EXISTS (
       SELECT FROM unnest($2::text[]) AS q (word) WHERE position(q.word IN lower(body)) = 0)
 ORDER BY created_at DESC, id DESC LIMIT $5;

-- name: message_hits
-- How many entries each range of words has, counted up to a limit. $1, $2 ranges; $3 the limit.
SELECT (SELECT count(*) FROM (
        SELECT FROM message_word w WHERE w.word >= q.first AND w.word <= q.last LIMIT $3) AS s) AS n
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q (first, last, place) ORDER BY place;

-- name: messages_found
-- Texts with an entry in the range $1 to $2 and in each of the ranges $3, $4; few have. And those of
-- the newest $6 outbound texts with all words $5 in them. $7 direction or null; $8, $9 position;
-- $10 how many.
SELECT m.* FROM (
        (SELECT w.message_id FROM message_word w
         WHERE w.word >= $1 AND w.word <= $2 AND (w.created_at, w.message_id) < ($8, $9)
           AND NOT EXISTS (
               SELECT FROM unnest($3::text[], $4::text[]) AS q (first, last) WHERE NOT EXISTS (
                   SELECT FROM message_word o WHERE o.message_id = w.message_id
                      AND o.word || '' >= q.first AND o.word || '' <= q.last))
         GROUP BY w.message_id, w.created_at ORDER BY w.created_at DESC, w.message_id DESC
         LIMIT CASE WHEN $7::text IS NULL THEN $10::bigint END)
         UNION
        (SELECT id FROM outbound_before('infinity', '', $6) AS newest
          WHERE (created_at, id) < ($8, $9) AND NOT EXISTS (
               SELECT FROM unnest($5::text[]) AS q (word)
                WHERE position(q.word IN lower(body)) = 0)
          ORDER BY created_at DESC, id DESC LIMIT $10)) AS found
 CROSS JOIN LATERAL (SELECT * FROM message m WHERE m.id = found.message_id LIMIT 1) AS m
 WHERE (m.created_at, m.id) < ($8, $9) AND ($7::text IS NULL OR m.direction = $7)
 ORDER BY m.created_at DESC, m.id DESC LIMIT $10;

-- name: messages_sieved
-- Where many texts have them: of the next so many those with all words $1 in them. $2 direction or
-- null; $3, $4 position; $5 how many; $6 how many to look at.
SELECT * FROM (
        (SELECT * FROM outbound_before($3, $4, $6) WHERE $2 IS DISTINCT FROM 'inbound')
        UNION ALL
        (SELECT * FROM message WHERE $2 IS DISTINCT FROM 'outbound' AND listed_as IS NULL
            AND direction = 'inbound' AND (created_at, id) < ($3, $4)
          ORDER BY created_at DESC, id DESC LIMIT $6)
         ORDER BY created_at DESC, id DESC LIMIT $6) AS m
 WHERE NOT EXISTS (
       SELECT FROM unnest($1::text[]) AS q (word) WHERE position(q.word IN lower(body)) = 0)
 ORDER BY created_at DESC, id DESC LIMIT $5;

-- name: messages_sieved_end
-- $1 direction or null; $2, $3 position; $4 how many were looked at, less one.
SELECT created_at, id FROM (
    (SELECT created_at, id FROM outbound_before($2, $3, $4 + 1)
      WHERE $1 IS DISTINCT FROM 'inbound')
    UNION ALL
    (SELECT created_at, id FROM message WHERE $1 IS DISTINCT FROM 'outbound'
        AND listed_as IS NULL AND direction = 'inbound' AND (created_at, id) < ($2, $3)
      ORDER BY created_at DESC, id DESC LIMIT $4 + 1)) AS m
 ORDER BY created_at DESC, id DESC OFFSET $4 LIMIT 1;

-- name: written_to
-- The contacts of the newest texts that messages_found would find. $1 to $6 as there; $7 how many
-- texts.
SELECT contact_id FROM (
    (SELECT w.contact_id FROM message_word w
      WHERE w.word >= $1 AND w.word <= $2
        AND NOT EXISTS (
            SELECT FROM unnest($3::text[], $4::text[]) AS q (first, last) WHERE NOT EXISTS (
                SELECT FROM message_word o WHERE o.message_id = w.message_id
                   AND o.word || '' >= q.first AND o.word || '' <= q.last))
      ORDER BY w.created_at DESC, w.message_id DESC LIMIT $7)
    UNION
    SELECT contact_id FROM (
        SELECT contact_id, body FROM outbound_before('infinity', '', $6)) AS newest
     WHERE NOT EXISTS (
           SELECT FROM unnest($5::text[]) AS q (word)
            WHERE position(q.word IN lower(body)) = 0)) AS found;

-- name: timeline
-- Every fact about a message. $1 message.
SELECT seq, at, type, detail FROM timeline WHERE message_id = $1 ORDER BY seq LIMIT 1000;
