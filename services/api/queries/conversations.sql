-- Contacts and messages are looked up one by one, by their keys, whatever the plan (see the function
-- recipients and, on words, contacts.sql).

-- name: conversations
-- The newest message first, open and closed merged. $1, $2 position; $3 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT * FROM (
            (SELECT * FROM conversation WHERE state = 'open' AND (last_at, contact_id) < ($1, $2)
              ORDER BY last_at DESC, contact_id DESC LIMIT $3)
            UNION ALL
            (SELECT * FROM conversation WHERE state = 'closed' AND (last_at, contact_id) < ($1, $2)
              ORDER BY last_at DESC, contact_id DESC LIMIT $3)) AS either
         ORDER BY last_at DESC, contact_id DESC LIMIT $3) AS v
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = v.contact_id LIMIT 1) AS c
  LEFT JOIN LATERAL (SELECT * FROM message m WHERE m.id = v.last_message_id LIMIT 1) AS m ON true
 ORDER BY v.last_at DESC, v.contact_id DESC;

-- name: conversations_in_state
-- $1 state; $2, $3 position; $4 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT * FROM conversation WHERE state = $1 AND (last_at, contact_id) < ($2, $3)
         ORDER BY last_at DESC, contact_id DESC LIMIT $4) AS v
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = v.contact_id LIMIT 1) AS c
  LEFT JOIN LATERAL (SELECT * FROM message m WHERE m.id = v.last_message_id LIMIT 1) AS m ON true
 ORDER BY v.last_at DESC, v.contact_id DESC;

-- name: conversations_unread
-- With replies nobody has looked at. $1, $2 position; $3 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT * FROM conversation
         WHERE unread > 0 AND (last_at, contact_id) < ($1, $2)
         ORDER BY last_at DESC, contact_id DESC LIMIT $3) AS v
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = v.contact_id LIMIT 1) AS c
  LEFT JOIN LATERAL (SELECT * FROM message m WHERE m.id = v.last_message_id LIMIT 1) AS m ON true
 ORDER BY v.last_at DESC, v.contact_id DESC;

-- name: conversations_found
-- As contacts_found, and with the contacts $7. $8 state or null; $9 only unread; $10, $11 position;
-- $12 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT v.* FROM (
                SELECT w.contact_id FROM contact_word w
                 WHERE w.word >= $1 AND w.word <= $2 AND NOT EXISTS (
                       SELECT FROM unnest($3::text[], $4::text[]) AS q (first, last)
                        WHERE NOT EXISTS (
                           SELECT FROM contact_word o WHERE o.contact_id = w.contact_id
                              AND o.word || '' >= q.first AND o.word || '' <= q.last))
                 UNION
                SELECT n.id FROM unnest($5::text[], $6::text[]) AS q (first, last)
                  JOIN contact n ON n.number COLLATE "C" >= q.first
                       AND n.number COLLATE "C" <= q.last
                 UNION
                SELECT * FROM unnest($7::text[])) AS found
         CROSS JOIN LATERAL (
               SELECT * FROM conversation v WHERE v.contact_id = found.contact_id LIMIT 1) AS v
         WHERE (v.last_at, v.contact_id) < ($10, $11)
           AND ($8::text IS NULL OR v.state = $8) AND (NOT $9 OR v.unread > 0)
         ORDER BY v.last_at DESC, v.contact_id DESC LIMIT $12) AS v
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = v.contact_id LIMIT 1) AS c
  LEFT JOIN LATERAL (SELECT * FROM message m WHERE m.id = v.last_message_id LIMIT 1) AS m ON true
 ORDER BY v.last_at DESC, v.contact_id DESC;

-- name: conversations_sieved
-- As contacts_sieved, and with the contacts $5: of the next so many conversations. $6 state or
-- null; $7 only unread; $8, $9 position; $10 how many; $11 how many to look at.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT * FROM (
            (SELECT * FROM conversation
              WHERE NOT $7 AND state = 'open' AND (last_at, contact_id) < ($8, $9)
              ORDER BY last_at DESC, contact_id DESC LIMIT $11)
            UNION ALL
            (SELECT * FROM conversation
              WHERE NOT $7 AND state = 'closed' AND (last_at, contact_id) < ($8, $9)
              ORDER BY last_at DESC, contact_id DESC LIMIT $11)
            UNION ALL
            (SELECT * FROM conversation
              WHERE $7 AND unread > 0 AND (last_at, contact_id) < ($8, $9)
              ORDER BY last_at DESC, contact_id DESC LIMIT $11)) AS u
         ORDER BY last_at DESC, contact_id DESC LIMIT $11) AS v
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = v.contact_id LIMIT 1) AS c
  LEFT JOIN LATERAL (SELECT * FROM message m WHERE m.id = v.last_message_id LIMIT 1) AS m ON true
 WHERE ($6::text IS NULL OR v.state = $6)
   AND (cardinality($1::text[]) > 0 AND NOT EXISTS (
           SELECT FROM unnest($1::text[], $2::text[]) AS q (first, last) WHERE NOT EXISTS (
               SELECT FROM contact_word w WHERE w.contact_id = c.id
                  AND w.word || '' >= q.first AND w.word || '' <= q.last))
        OR EXISTS (
           SELECT FROM unnest($3::text[], $4::text[]) AS q (first, last)
            WHERE c.number COLLATE "C" >= q.first AND c.number COLLATE "C" <= q.last)
        OR v.contact_id = ANY ($5::text[]))
 ORDER BY v.last_at DESC, v.contact_id DESC LIMIT $10;

-- name: conversations_end
-- Where looking at so many conversations ended. $1 only unread; $2, $3 position; $4 how many, less
-- one.
SELECT last_at, contact_id FROM (
    (SELECT last_at, contact_id FROM conversation
      WHERE NOT $1 AND state = 'open' AND (last_at, contact_id) < ($2, $3)
      ORDER BY last_at DESC, contact_id DESC LIMIT $4 + 1)
    UNION ALL
    (SELECT last_at, contact_id FROM conversation
      WHERE NOT $1 AND state = 'closed' AND (last_at, contact_id) < ($2, $3)
      ORDER BY last_at DESC, contact_id DESC LIMIT $4 + 1)
    UNION ALL
    (SELECT last_at, contact_id FROM conversation
      WHERE $1 AND unread > 0 AND (last_at, contact_id) < ($2, $3)
      ORDER BY last_at DESC, contact_id DESC LIMIT $4 + 1)) AS u
 ORDER BY last_at DESC, contact_id DESC OFFSET $4 LIMIT 1;

-- name: conversation_counts
-- How many conversations wait for somebody, counted up to a limit. $1 the limit.
SELECT count(*) AS conversations, coalesce(sum(unread), 0) AS messages FROM (
    SELECT unread FROM conversation WHERE unread > 0
     ORDER BY last_at DESC, contact_id DESC LIMIT $1) AS waiting;

-- name: conversation
-- One conversation. $1 contact.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM conversation v
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = v.contact_id LIMIT 1) AS c
  LEFT JOIN LATERAL (SELECT * FROM message m WHERE m.id = v.last_message_id LIMIT 1) AS m ON true
 WHERE v.contact_id = $1;
