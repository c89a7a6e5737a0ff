-- name: key_by_hash
-- A key that may be used, by its SHA-256. $1 hash.
SELECT id, workspace_id, mode, scopes, expires_at FROM api_key
 WHERE hash = $1 AND revoked_at IS NULL;

-- name: save_key_uses
-- When keys were last used, as seen by one instance. $1 keys, $2 workspaces, $3 times.
INSERT INTO vault_key_use AS u (key_id, workspace_id, last_used_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
    ON CONFLICT (key_id) DO UPDATE SET last_used_at = greatest(u.last_used_at, excluded.last_used_at);

-- name: keys
-- Keys in use, newest first. $1 and $2 where the page before ended, $3 how many.
SELECT k.*, u.last_used_at FROM api_key k LEFT JOIN vault_key_use u ON u.key_id = k.id
 WHERE k.revoked_at IS NULL AND (k.created_at, k.id) < ($1, $2)
 ORDER BY k.created_at DESC, k.id DESC LIMIT $3;

-- name: key
-- One key in use. $1 id.
SELECT k.*, u.last_used_at FROM api_key k LEFT JOIN vault_key_use u ON u.key_id = k.id
 WHERE k.id = $1 AND k.revoked_at IS NULL;

-- name: workspace
-- The workspace of this transaction.
SELECT * FROM workspace;

-- name: claim
-- Begin requests, unless their keys are taken. $1 workspaces, $2 operations, $3 keys,
-- $4 fingerprints, $5 now, $6 running until, $7 kept until. A key is free again when its row has
-- expired, or when the very same request was left unfinished; then claimed_at stays.
INSERT INTO vault_idempotency AS r
    (workspace_id, operation, key, fingerprint, claimed_at, running_until, expires_at)
SELECT w, o, k, f, $5, $6, $7
  FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS wanted (w, o, k, f)
    ON CONFLICT (workspace_id, operation, key) DO UPDATE
   SET fingerprint = excluded.fingerprint,
       claimed_at = CASE WHEN r.expires_at <= $5 THEN excluded.claimed_at ELSE r.claimed_at END,
       running_until = excluded.running_until, expires_at = excluded.expires_at,
       status = NULL, answer = NULL
 WHERE r.expires_at <= $5
    OR (r.status IS NULL AND r.running_until <= $5 AND r.fingerprint = excluded.fingerprint)
RETURNING operation, key, claimed_at;

-- name: claimed
-- The rows behind keys that were taken. $1 operations, $2 keys.
SELECT r.operation, r.key, r.fingerprint, r.status, r.answer, r.running_until
  FROM vault_idempotency r JOIN unnest($1::text[], $2::text[]) AS t (operation, key)
    ON r.operation = t.operation AND r.key = t.key;

-- name: complete
-- Keep answers. $1 operations, $2 keys, $3 claimed at, $4 statuses, $5 sealed answers.
UPDATE vault_idempotency r SET status = d.status, answer = d.answer
  FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::integer[], $5::bytea[])
       AS d (operation, key, claimed_at, status, answer)
 WHERE r.operation = d.operation AND r.key = d.key AND r.claimed_at = d.claimed_at;

-- name: release
-- Let requests that failed on our side be repeated at once. $1 operations, $2 keys, $3 claimed at,
-- $4 now.
UPDATE vault_idempotency r SET running_until = $4
  FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS d (operation, key, claimed_at)
 WHERE r.operation = d.operation AND r.key = d.key AND r.claimed_at = d.claimed_at;

-- name: forget_answers
-- Rows whose time is over. $1 now, $2 how many at once.
DELETE FROM vault_idempotency WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM vault_idempotency WHERE expires_at <= $1 LIMIT $2));

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

-- name: phones
-- Paired phones, newest first. $1, $2 position; $3 how many.
SELECT * FROM phone WHERE paired AND (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: phone
-- One phone, also an unpaired one. $1 id.
SELECT * FROM phone WHERE id = $1;

-- name: labels
-- What phones are called. $1 ids.
SELECT id, label FROM phone WHERE id = ANY($1::text[]);

-- name: contact
-- One contact. $1 id.
SELECT * FROM contact WHERE id = $1;

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

-- name: conversations
-- The busiest first. $1, $2 position; $3 how many.
SELECT v.*, c.first_name, c.last_name, c.number, c.opted_out,
       m.direction AS message_direction, m.state AS message_state, m.body AS message_body,
       m.created_at AS message_created_at
  FROM (SELECT * FROM conversation WHERE (last_at, contact_id) < ($1, $2)
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

-- name: endpoints
-- Newest first. $1, $2 position; $3 how many.
SELECT * FROM endpoint WHERE (created_at, id) < ($1, $2)
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: endpoint
-- One endpoint. $1 id.
SELECT * FROM endpoint WHERE id = $1;

-- name: attempts
-- Of one endpoint, newest first. $1 endpoint; $2, $3 position; $4 how many.
SELECT * FROM attempt WHERE endpoint_id = $1 AND (at, id) < ($2, $3)
 ORDER BY at DESC, id DESC LIMIT $4;

-- name: attempt
-- One attempt. $1 id.
SELECT * FROM attempt WHERE id = $1;
