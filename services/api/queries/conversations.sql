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
  JOIN contact c ON c.id = v.contact_id
  LEFT JOIN message m ON m.id = v.last_message_id
 ORDER BY v.last_at DESC, v.contact_id DESC;

-- name: conversations_in_state
-- $1 state; $2, $3 position; $4 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT * FROM conversation WHERE state = $1 AND (last_at, contact_id) < ($2, $3)
         ORDER BY last_at DESC, contact_id DESC LIMIT $4) AS v
  JOIN contact c ON c.id = v.contact_id
  LEFT JOIN message m ON m.id = v.last_message_id
 ORDER BY v.last_at DESC, v.contact_id DESC;

-- name: conversations_unread
-- With replies nobody has looked at. $1, $2 position; $3 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT * FROM conversation
         WHERE unread > 0 AND (last_at, contact_id) < ($1, $2)
         ORDER BY last_at DESC, contact_id DESC LIMIT $3) AS v
  JOIN contact c ON c.id = v.contact_id
  LEFT JOIN message m ON m.id = v.last_message_id
 ORDER BY v.last_at DESC, v.contact_id DESC;

-- name: conversations_found
-- With contacts who have an entry in each of the word ranges ($1, $2), or whose number is in one
-- of the number ranges ($3, $4). $5 state or null; $6 only unread; $7, $8 position; $9 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT w.contact_id
          FROM unnest($1::text[], $2::text[]) AS q (first, last)
          JOIN contact_word w ON w.word >= q.first AND w.word <= q.last
         GROUP BY w.contact_id HAVING count(DISTINCT q.first) = cardinality($1)
         UNION
        SELECT n.id FROM unnest($3::text[], $4::text[]) AS q (first, last)
          JOIN contact n ON n.number COLLATE "C" >= q.first AND n.number COLLATE "C" <= q.last
       ) AS found
  JOIN conversation v ON v.contact_id = found.contact_id
  JOIN contact c ON c.id = v.contact_id
  LEFT JOIN message m ON m.id = v.last_message_id
 WHERE (v.last_at, v.contact_id) < ($7, $8)
   AND ($5::text IS NULL OR v.state = $5) AND (NOT $6 OR v.unread > 0)
 ORDER BY v.last_at DESC, v.contact_id DESC LIMIT $9;

-- name: conversation
-- One conversation. $1 contact.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM conversation v
  JOIN contact c ON c.id = v.contact_id
  LEFT JOIN message m ON m.id = v.last_message_id
 WHERE v.contact_id = $1;
