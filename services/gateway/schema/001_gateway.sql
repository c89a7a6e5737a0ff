-- Phones as they are paired now. A generation is one pairing: its journal starts at 1.
CREATE TABLE phone (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    device_hash text NOT NULL,
    label text NOT NULL,
    generation integer NOT NULL CHECK (generation > 0),
    sims json NOT NULL,
    sims_seq bigint NOT NULL,
    simulated boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('online', 'late', 'offline')),
    state_seq bigint NOT NULL,
    unpaired boolean NOT NULL CHECK (NOT unpaired OR state = 'offline'),
    journal_head bigint NOT NULL CHECK (journal_head >= 0),
    paired_seq bigint NOT NULL,
    pairing_id text
);

-- What a phone must still be told. A text stays only as long as it may have to be offered.
CREATE TABLE offer (
    message_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    contact_id text NOT NULL,
    command_id text NOT NULL,
    phone_id text NOT NULL,
    to_number text NOT NULL,
    body text NOT NULL,
    subscription_id integer,
    expires_at timestamptz NOT NULL,
    frame_seq bigint NOT NULL,
    cancel_wanted boolean NOT NULL,
    accepted boolean NOT NULL,
    CHECK (body = '' OR NOT (cancel_wanted OR accepted))
);
CREATE INDEX offer_of_phone ON offer (phone_id, frame_seq) WHERE cancel_wanted OR NOT accepted;

-- What was said about each command, for ever: reports may come days later. Facts: facts.py.
CREATE TABLE command (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    phone_id text NOT NULL,
    message_id text NOT NULL,
    contact_id text NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),
    parts integer NOT NULL CHECK (parts > 0),
    facts smallint NOT NULL CHECK (facts BETWEEN 0 AND 127),
    cause text NOT NULL
);

-- Texts that are in the log already: a sweep of the phone's inbox finds them again.
CREATE TABLE received (
    message_id text PRIMARY KEY,
    workspace_id text NOT NULL
);

-- The country of numbers without +.
CREATE TABLE workspace (
    workspace_id text PRIMARY KEY,
    region text NOT NULL
);
