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
