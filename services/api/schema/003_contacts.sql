-- The names of custom fields in use: the columns of an export, and what a template may name.
CREATE TABLE contact_field (
    workspace_id text NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, name)
);
