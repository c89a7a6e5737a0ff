-- name: to_reject
-- Texts that ask for it.
SELECT id, workspace_id, person_id FROM note WHERE state = 'open' AND body = 'reject me'
 ORDER BY seq LIMIT 100;

-- name: count_notes
-- All of a workspace.
SELECT count(*) FROM note;
