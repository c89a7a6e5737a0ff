-- The names of custom fields in use: the columns of an export, and what a template may name.
CREATE TABLE contact_field (
    workspace_id text NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

-- What a text is found by: the words of those that people wrote, replies and answers from an inbox.
-- What programs sent in bulk has none, and is found among the newest texts alone: writing twenty
-- words for each of twenty thousand texts a second would cost more than all the rest.
CREATE TABLE message_word (
    workspace_id text NOT NULL,
    word text COLLATE "C" NOT NULL CHECK (word <> ''),
    message_id text NOT NULL,
    contact_id text NOT NULL,
    created_at timestamptz NOT NULL,     -- the message's
    PRIMARY KEY (message_id, word, workspace_id)
);
CREATE INDEX message_word_listed
    ON message_word (workspace_id, word, created_at DESC, message_id DESC) INCLUDE (contact_id);
