-- An erased person: whose number it is from then on. Nothing that still comes is theirs.
ALTER TABLE contact ADD COLUMN successor_id text;

-- How phones stood when messages they had carried were forgotten, until that is on record: a
-- rebuild, whose log lacks those messages, adds what it misses. Also, under a contact's id, which
-- phone it had last spoken with.
CREATE TABLE standing (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    forgotten text NOT NULL,             -- the message.forgotten as of which it is
    day text NOT NULL,
    sent_today integer NOT NULL CHECK (sent_today >= 0),
    recent jsonb NOT NULL,
    last_dispatch_at timestamptz,
    last_command_id text,
    contact_phone text
);
