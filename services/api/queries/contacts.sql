-- name: contact
-- One contact. $1 id.
SELECT * FROM contact WHERE id = $1;

-- name: contacts_by_id
-- Contacts, each by its key (see the function recipients). $1 ids.
SELECT found.* FROM unnest($1::text[]) AS wanted (id)
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = wanted.id LIMIT 1) AS found;

-- name: contact_fields
-- The names of custom fields that contacts have or had.
SELECT name FROM contact_field ORDER BY name LIMIT 1000;

-- name: contacts
-- Newest first. $1, $2 position; $3 how many.
SELECT * FROM contact WHERE (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: contacts_opted
-- Those who opted out, or those who did not. $1 which; $2, $3 position; $4 how many.
SELECT * FROM contact WHERE opted_out = $1 AND (created_at, id) < ($2, $3)
 ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: contacts_opted_out
-- As contacts_opted, of the few who did: their own index. $1, $2 position; $3 how many.
SELECT * FROM contact WHERE opted_out AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: contacts_tagged
-- $1 the tag's entry; $2 opted out or null; $3, $4 position; $5 how many.
SELECT c.* FROM contact_word w JOIN contact c ON c.id = w.contact_id
 WHERE w.word = $1 AND (w.created_at, w.contact_id) < ($3, $4)
   AND ($2::boolean IS NULL OR c.opted_out = $2)
 ORDER BY w.created_at DESC, w.contact_id DESC LIMIT $5;

-- name: contacts_found
-- Those who have an entry in each of the word ranges ($1, $2), or whose number is in one of the
-- number ranges ($3, $4). $5 the tag's entry or null; $6 opted out or null; $7, $8 position;
-- $9 how many.
SELECT c.* FROM (
        SELECT w.contact_id
          FROM unnest($1::text[], $2::text[]) AS q (first, last)
          JOIN contact_word w ON w.word >= q.first AND w.word <= q.last
         GROUP BY w.contact_id HAVING count(DISTINCT q.first) = cardinality($1)
         UNION
        SELECT n.id FROM unnest($3::text[], $4::text[]) AS q (first, last)
          JOIN contact n ON n.number COLLATE "C" >= q.first AND n.number COLLATE "C" <= q.last
       ) AS found
  JOIN contact c ON c.id = found.contact_id
 WHERE (c.created_at, c.id) < ($7, $8) AND ($6::boolean IS NULL OR c.opted_out = $6)
   AND ($5::text IS NULL OR EXISTS (
       SELECT FROM contact_word t WHERE t.word = $5 AND t.contact_id = c.id))
 ORDER BY c.created_at DESC, c.id DESC LIMIT $9;
