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
