-- What the tiny service keeps.
CREATE TABLE note (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    person_id text NOT NULL,
    phone_id text,
    body text NOT NULL,
    state text NOT NULL CONSTRAINT note_state CHECK (state IN ('open', 'rejected', 'unpaired')),
    seen integer NOT NULL,
    tags jsonb NOT NULL,
    seq bigint NOT NULL,
    looked_at timestamptz  -- not in the row struct: an actor's own
);
CREATE TABLE person (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    notes integer NOT NULL,
    name text
);
