-- The embedded sign-in: who signs in, by which mails, sessions and keys. None of it belongs to one
-- workspace, and only the service itself reads it: shared/sql.py gives tenants no right to it.

-- A person is here from the first time they proved to have the address.
CREATE TABLE vault_user (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    last_sign_in_at timestamptz NOT NULL
);

-- A mail that signs in once: by its link (token_hash) or by the code in it (code_hash, keyed).
-- With a challenge the link gives a code for /token instead (PKCE), and auth_code_* are set then.
CREATE TABLE vault_one_time (
    token_hash text PRIMARY KEY CHECK (length(token_hash) = 64),
    email text NOT NULL CHECK (email = lower(email)),
    code_hash text NOT NULL,
    metadata jsonb NOT NULL,
    redirect_to text NOT NULL,
    challenge text,
    challenge_method text CHECK (challenge_method IN ('s256', 'plain')),
    tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    code_expires_at timestamptz NOT NULL,
    used_at timestamptz,
    auth_code_hash text UNIQUE,
    auth_code_expires_at timestamptz,
    CHECK ((challenge IS NULL) = (challenge_method IS NULL)),
    CHECK ((auth_code_hash IS NULL) = (auth_code_expires_at IS NULL))
);
CREATE INDEX vault_one_time_email ON vault_one_time (email, created_at);
CREATE INDEX vault_one_time_expiry ON vault_one_time (expires_at);

-- active_sealed is the refresh token in force: given again to whoever repeats a refresh whose
-- answer was lost.
CREATE TABLE vault_session (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES vault_user (id) ON DELETE CASCADE,
    active_sealed bytea NOT NULL,
    signed_in_at timestamptz NOT NULL,
    refreshed_at timestamptz NOT NULL,
    user_agent text NOT NULL
);
CREATE INDEX vault_session_user ON vault_session (user_id);
CREATE INDEX vault_session_idle ON vault_session (refreshed_at);

-- replaced_at is set once a token was exchanged for the next: using it again later ends the session.
CREATE TABLE vault_refresh_token (
    hash text PRIMARY KEY CHECK (length(hash) = 64),
    session_id uuid NOT NULL REFERENCES vault_session (id) ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    replaced_at timestamptz
);
CREATE INDEX vault_refresh_token_session ON vault_refresh_token (session_id);

-- What access tokens are signed with. A new key is published before it signs (signs_from).
CREATE TABLE vault_signing_key (
    kid text PRIMARY KEY,
    sealed bytea NOT NULL,
    public_key jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL
);

-- Mail on its way out. In development without a mail server it stays, and is read from here.
CREATE TABLE vault_mail (
    id text PRIMARY KEY,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0)
);
CREATE INDEX vault_mail_due ON vault_mail (due_at);
CREATE INDEX vault_mail_expiry ON vault_mail (expires_at);
