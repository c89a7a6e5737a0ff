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

-- name: contacts_not_opted_out
-- Of the next so many the ones who did not (page.py, SIEVED_MAX). $1, $2 position; $3 how many;
-- $4 how many to look at.
SELECT * FROM (
    SELECT * FROM contact WHERE (created_at, id) < ($1, $2)
     ORDER BY created_at DESC, id DESC LIMIT $4) AS seen
 WHERE NOT opted_out ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: contacts_opted_out
-- Those who did. $1, $2 position; $3 how many.
SELECT * FROM contact WHERE opted_out AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: contacts_end
-- Where looking at so many contacts ended. $1, $2 position; $3 how many, less one.
SELECT created_at, id FROM contact WHERE (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC OFFSET $3 LIMIT 1;

-- name: contacts_opted_out_end
-- The same among those who opted out. $1, $2 position; $3 how many, less one.
SELECT created_at, id FROM contact WHERE opted_out AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC OFFSET $3 LIMIT 1;

-- name: contacts_tagged
-- $1 the tag's entry; $2 opted out or null; $3, $4 position; $5 how many; $6 how many to look at.
SELECT c.* FROM (
        SELECT created_at, contact_id FROM contact_word
         WHERE word = $1 AND (created_at, contact_id) < ($3, $4)
         ORDER BY created_at DESC, contact_id DESC LIMIT $6) AS w
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = w.contact_id LIMIT 1) AS c
 WHERE $2::boolean IS NULL OR c.opted_out = $2
 ORDER BY w.created_at DESC, w.contact_id DESC LIMIT $5;

-- name: contacts_tagged_end
-- $1 the tag's entry; $2, $3 position; $4 how many, less one.
SELECT created_at, contact_id AS id FROM contact_word
 WHERE word = $1 AND (created_at, contact_id) < ($2, $3)
 ORDER BY created_at DESC, contact_id DESC OFFSET $4 LIMIT 1;

-- name: contact_hits
-- How many entries each range of words has, and each range of numbers, counted up to a limit: which
-- way of looking is short (finding.py). $1, $2 word ranges; $3, $4 number ranges; $5 the limit.
SELECT true AS words, place, (SELECT count(*) FROM (
        SELECT FROM contact_word w WHERE w.word >= q.first AND w.word <= q.last LIMIT $5) AS s) AS n
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q (first, last, place)
 UNION ALL
SELECT false, place, (SELECT count(*) FROM (
        SELECT FROM contact c WHERE c.number COLLATE "C" >= q.first
           AND c.number COLLATE "C" <= q.last LIMIT $5) AS s)
  FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS q (first, last, place);

-- Below, o.word || '' keeps the index of words out of it: whether a contact has a word is asked of
-- the contact's own few words, whatever the plan. So does LIMIT 1, where EXISTS or JOIN would also
-- allow a plan that goes through everybody's words, or through all contacts, once.

-- name: contacts_found
-- Those who have an entry in the range $1 to $2 and in each of the further ranges $3, $4, or whose
-- number is in one of the ranges $5, $6. Few have, so all of them are looked at. $7 opted out or
-- null; $8 the tag's entry or null; $9, $10 position; $11 how many.
SELECT c.* FROM (
        (SELECT w.contact_id FROM contact_word w
         WHERE w.word >= $1 AND w.word <= $2 AND (w.created_at, w.contact_id) < ($9, $10)
           AND NOT EXISTS (
               SELECT FROM unnest($3::text[], $4::text[]) AS q (first, last) WHERE NOT EXISTS (
                   SELECT FROM contact_word o WHERE o.contact_id = w.contact_id
                      AND o.word || '' >= q.first AND o.word || '' <= q.last))
         GROUP BY w.contact_id, w.created_at ORDER BY w.created_at DESC, w.contact_id DESC
         LIMIT CASE WHEN $7::boolean IS NULL AND $8::text IS NULL THEN $11::bigint END)
         UNION
        SELECT n.id FROM unnest($5::text[], $6::text[]) AS q (first, last)
          JOIN contact n ON n.number COLLATE "C" >= q.first AND n.number COLLATE "C" <= q.last
       ) AS found
 CROSS JOIN LATERAL (SELECT * FROM contact c WHERE c.id = found.contact_id LIMIT 1) AS c
 WHERE (c.created_at, c.id) < ($9, $10) AND ($7::boolean IS NULL OR c.opted_out = $7)
   AND ($8::text IS NULL OR (
       SELECT true FROM contact_word t WHERE t.contact_id = c.id AND t.word || '' = $8 LIMIT 1))
 ORDER BY c.created_at DESC, c.id DESC LIMIT $11;

-- name: contacts_sieved
-- The same where many have: of the next so many contacts, of those who opted out if $6. $1, $2 word
-- ranges, all of which must be met, or $3, $4 number ranges, one; $5 the tag's entry or null;
-- $6 opted out or null; $7, $8 position; $9 how many; $10 how many to look at.
SELECT * FROM (
        (SELECT * FROM contact WHERE $6 AND opted_out AND (created_at, id) < ($7, $8)
          ORDER BY created_at DESC, id DESC LIMIT $10)
        UNION ALL
        (SELECT * FROM contact WHERE $6 IS NOT TRUE AND (created_at, id) < ($7, $8)
          ORDER BY created_at DESC, id DESC LIMIT $10)) AS c
 WHERE ($6::boolean IS NULL OR opted_out = $6)
   AND (cardinality($1::text[]) > 0 AND NOT EXISTS (
           SELECT FROM unnest($1::text[], $2::text[]) AS q (first, last) WHERE NOT EXISTS (
               SELECT FROM contact_word w WHERE w.contact_id = c.id
                  AND w.word || '' >= q.first AND w.word || '' <= q.last))
        OR EXISTS (
           SELECT FROM unnest($3::text[], $4::text[]) AS q (first, last)
            WHERE c.number COLLATE "C" >= q.first AND c.number COLLATE "C" <= q.last))
   AND ($5::text IS NULL OR (
       SELECT true FROM contact_word t WHERE t.contact_id = c.id AND t.word || '' = $5 LIMIT 1))
 ORDER BY created_at DESC, id DESC LIMIT $9;

-- name: tags
-- The tags in use, each found by a step along the index, with how many contacts have it, counted up
-- to a limit. $1 the entry before the first; $2 how many tags; $3 the limit of the count.
WITH RECURSIVE step (word, n) AS (
    (SELECT word, 1 FROM contact_word WHERE word > $1 AND word < '$' ORDER BY word LIMIT 1)
     UNION ALL
    SELECT (SELECT w.word FROM contact_word w WHERE w.word > step.word AND w.word < '$'
             ORDER BY w.word LIMIT 1), n + 1
      FROM step WHERE step.word IS NOT NULL AND n < $2)
SELECT word, (SELECT count(*) FROM (
           SELECT FROM contact_word c WHERE c.word = step.word LIMIT $3) AS s) AS contacts
  FROM step WHERE word IS NOT NULL ORDER BY word;
