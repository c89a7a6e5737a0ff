-- name: signing_keys
-- Every signing key, the one that signs last first.
SELECT kid, sealed, public_key, signs_from FROM vault_signing_key ORDER BY signs_from DESC, kid;

-- name: save_first_signing_key
-- A key that signs at once, unless there is one. $1 kid, $2 sealed, $3 public key, $4 now.
INSERT INTO vault_signing_key (kid, sealed, public_key, created_at, signs_from)
SELECT $1, $2, $3, $4, $4 WHERE NOT EXISTS (SELECT FROM vault_signing_key);

-- name: lock_address
-- One request at a time for an address, until the transaction ends. $1 e-mail.
SELECT pg_advisory_xact_lock(hashtextextended('api.sign_in:' || $1, 0));

-- name: mails_to
-- When an address was mailed, newest first. $1 e-mail, $2 since when.
SELECT created_at FROM vault_one_time WHERE email = $1 AND created_at > $2
 ORDER BY created_at DESC;

-- name: knows_address
-- Whether somebody signed in with this address before. $1 e-mail.
SELECT EXISTS (SELECT FROM vault_user WHERE email = $1);

-- name: save_one_time
-- A link and a code for an address. $1 token hash, $2 e-mail, $3 code hash, $4 metadata,
-- $5 redirect, $6 challenge, $7 its method, $8 now, $9 the link's end, $10 the code's end.
INSERT INTO vault_one_time (token_hash, email, code_hash, metadata, redirect_to, challenge,
                            challenge_method, created_at, expires_at, code_expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: one_time
-- A link that can still be used. $1 token hash, $2 now.
SELECT * FROM vault_one_time WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2;

-- name: codes
-- Codes that can still be typed. $1 e-mail, $2 now, $3 how many wrong tries end it.
SELECT * FROM vault_one_time
 WHERE email = $1 AND used_at IS NULL AND code_expires_at > $2 AND tries < $3 FOR UPDATE;

-- name: wrong_code
-- A wrong code counts against all that were sent to the address. $1 e-mail.
UPDATE vault_one_time SET tries = tries + 1 WHERE email = $1 AND used_at IS NULL;

-- name: use_one_time
-- This mail was used, and with it every older or newer one to the address. $1 e-mail, $2 now.
UPDATE vault_one_time SET used_at = $2 WHERE email = $1 AND used_at IS NULL;

-- name: save_auth_code
-- The link was clicked; the client may fetch the session with this. $1 token hash, $2 code hash,
-- $3 until when.
UPDATE vault_one_time SET auth_code_hash = $2, auth_code_expires_at = $3 WHERE token_hash = $1;

-- name: auth_code
-- What a code stands for. $1 code hash.
SELECT * FROM vault_one_time WHERE auth_code_hash = $1 FOR UPDATE;

-- name: use_auth_code
-- A code is exchanged once. $1 code hash.
UPDATE vault_one_time SET auth_code_hash = NULL, auth_code_expires_at = NULL
 WHERE auth_code_hash = $1;

-- name: sign_user_in
-- The person with an address, now also by this sign-in. $1 id if new, $2 e-mail, $3 metadata,
-- $4 now.
INSERT INTO vault_user AS u (id, email, metadata, created_at, updated_at, last_sign_in_at)
VALUES ($1, $2, $3, $4, $4, $4)
    ON CONFLICT (email) DO UPDATE SET last_sign_in_at = excluded.last_sign_in_at
RETURNING *;

-- name: save_session
-- $1 id, $2 user, $3 sealed refresh token, $4 now, $5 user agent.
INSERT INTO vault_session (id, user_id, active_sealed, signed_in_at, refreshed_at, user_agent)
VALUES ($1, $2, $3, $4, $4, $5);

-- name: save_refresh_token
-- $1 hash, $2 session, $3 now.
INSERT INTO vault_refresh_token (hash, session_id, issued_at) VALUES ($1, $2, $3);

-- name: session_of_token
-- The session a refresh token belongs to; one refresh at a time. $1 hash.
SELECT s.*, t.replaced_at FROM vault_refresh_token t JOIN vault_session s ON s.id = t.session_id
 WHERE t.hash = $1 FOR UPDATE OF s;

-- name: token_replaced
-- When a refresh token was exchanged, as of now. $1 hash.
SELECT replaced_at FROM vault_refresh_token WHERE hash = $1;

-- name: active_token
-- The refresh token in force, as of now. $1 session.
SELECT active_sealed FROM vault_session WHERE id = $1;

-- name: replace_token
-- $1 hash, $2 now.
UPDATE vault_refresh_token SET replaced_at = $2 WHERE hash = $1;

-- name: refresh_session
-- $1 id, $2 sealed refresh token, $3 now.
UPDATE vault_session SET active_sealed = $2, refreshed_at = $3 WHERE id = $1;

-- name: user
-- $1 id.
SELECT * FROM vault_user WHERE id = $1;

-- name: session_user
-- The person of a session that is not over. $1 session, $2 refreshed since.
SELECT u.* FROM vault_session s JOIN vault_user u ON u.id = s.user_id
 WHERE s.id = $1 AND s.refreshed_at > $2;

-- name: end_session
-- $1 id.
DELETE FROM vault_session WHERE id = $1 RETURNING id;

-- name: end_sessions
-- All sessions of a person but one. $1 user, $2 session that stays, or null.
DELETE FROM vault_session WHERE user_id = $1 AND id IS DISTINCT FROM $2 RETURNING id;

-- name: forget_one_time
-- Mails whose time is over, kept a little for the count of mails. $1 before, $2 how many at once.
DELETE FROM vault_one_time WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM vault_one_time WHERE expires_at <= $1 LIMIT $2));

-- name: forget_sessions
-- Sessions nobody refreshed. $1 before, $2 how many at once.
DELETE FROM vault_session WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM vault_session WHERE refreshed_at <= $1 LIMIT $2));

-- name: forget_mail
-- Mail whose time is over. $1 now, $2 how many at once.
DELETE FROM vault_mail WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM vault_mail WHERE expires_at <= $1 LIMIT $2));

-- name: forget_signing_keys
-- Keys whose tokens have all expired: a newer one signs since before $1.
DELETE FROM vault_signing_key old WHERE EXISTS (
    SELECT FROM vault_signing_key new WHERE new.signs_from > old.signs_from AND new.signs_from <= $1);
