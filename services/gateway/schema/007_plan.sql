-- Phones of a workspace are counted where its plan limits them.
CREATE INDEX phone_of_workspace ON phone (workspace_id);
