-- name: forget
-- Empty tables fill faster without their indexes, which are made again afterwards.
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'api' AND indexname NOT LIKE '%_pkey'
   AND tablename IN ('contact', 'contact_word', 'conversation', 'message', 'message_word');

-- name: vocabulary
-- Words as people use them: a few very often, most of them hardly ever. $1 prefix, $2 how many.
SELECT array_agg($1 || translate(to_hex(n * 2654435761 % 4294967296), '0123456789', 'ghijklmnop'))
  FROM generate_series(1, $2) AS n;

-- name: contacts
-- $1 workspace, $2 how many, $3 and $4 first and last names, $5 the time of the newest.
INSERT INTO api.contact
    (id, workspace_id, number, kind, generation, saved, opted_out, first_name, last_name, company,
     tags, seq, created_at, updated_at)
SELECT 'con_0' || upper(substr(md5('con' || $1 || n), 1, 25)), $1,
       '+1' || (2000000000 + n::bigint * 7919 % 7999999999)::text, 'number', 0, true, n % 50 = 0,
       ($3::text[])[1 + floor(cardinality($3::text[]) * random() ^ 3)::int],
       ($4::text[])[1 + floor(cardinality($4::text[]) * random() ^ 3)::int],
       CASE WHEN n % 10 = 0 THEN 'Company ' || n END,
       CASE WHEN n % 20 = 0 THEN '["vip"]'::jsonb WHEN n % 1000 = 1 THEN '["rare"]'::jsonb END,
       1, at, at
  FROM generate_series(1, $2::int) AS n, LATERAL (SELECT $5::timestamptz
       - (($2::int - n) * interval '1 second')) AS t (at);

-- name: words
-- What these contacts are found by. $1 workspace.
INSERT INTO api.contact_word (workspace_id, word, contact_id, created_at)
SELECT workspace_id, word, id, created_at
  FROM api.contact, LATERAL (
       SELECT lower(first_name) UNION SELECT lower(last_name) UNION
       SELECT regexp_split_to_table(lower(company), ' ') UNION
       SELECT '#' || jsonb_array_elements_text(tags)) AS w (word)
 WHERE workspace_id = $1 AND word IS NOT NULL;

-- name: messages
-- $1 workspace, $2 how many, $3 contacts, $4 words, $5 the time of the newest, $6 phone.
INSERT INTO api.message
    (id, workspace_id, contact_id, direction, state, number, body, parts, attempt, seen, test,
     created_at, updated_at, source, phone_id)
SELECT 'msg_0' || upper(substr(md5('msg' || $1 || n), 1, 25)), $1,
       'con_0' || upper(substr(md5('con' || $1 || 1 + n::bigint * 7919 % $3::int), 1, 25)),
       CASE WHEN n % 10 = 0 THEN 'inbound' ELSE 'outbound' END,
       CASE WHEN n % 10 = 0 THEN 'received' WHEN n > $2::int * 0.98 THEN 'queued'
            WHEN n % 97 = 0 THEN 'failed' WHEN n % 9 = 0 THEN 'sent' ELSE 'delivered' END,
       '+14155550100',
       CASE WHEN n % 10 = 0 THEN (
            SELECT string_agg(($4::text[])[
                       1 + floor(cardinality($4::text[]) * random() ^ 3 + k * 0)::int], ' ')
              FROM generate_series(1, 6 + n * 0) AS k)
            ELSE 'Hello, your table for tonight at eight is ready. Reply STOP to opt out.' END,
       1, 1, 0, false, at, at, CASE WHEN n % 10 = 0 THEN NULL ELSE 'api' END, $6
  FROM generate_series(1, $2::int) AS n, LATERAL (SELECT $5::timestamptz
       - (($2::int - n) * interval '0.2 second')) AS t (at);

-- name: body_words
-- $1 workspace.
INSERT INTO api.message_word (workspace_id, word, message_id, contact_id, created_at)
SELECT DISTINCT workspace_id, regexp_split_to_table(body, ' '), id, contact_id, created_at
  FROM api.message WHERE workspace_id = $1 AND direction = 'inbound';

-- name: conversations
-- $1 workspace.
INSERT INTO api.conversation
    (contact_id, workspace_id, state, unread, last_message_id, last_at, created_at)
SELECT DISTINCT ON (contact_id) contact_id, workspace_id,
       CASE WHEN hashtext(contact_id) % 3 = 0 THEN 'closed' ELSE 'open' END,
       CASE WHEN direction = 'inbound' AND hashtext(contact_id) % 5 = 0 THEN 2 ELSE 0 END, id,
       created_at, created_at
  FROM api.message WHERE workspace_id = $1 ORDER BY contact_id, created_at DESC;
