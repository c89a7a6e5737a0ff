-- name: open_texts
-- The oldest texts nobody has decided about, with their senders' consent and the workspace's words.
SELECT i.id AS message_id, i.event_id, i.workspace_id, i.contact_id, i.phone_id, i.subscription_id,
       i.sender, i.sender_kind, i.body, i.parts, i.received_at, i.at,
       coalesce(c.opted_out, false) AS opted_out, c.consent_message_id,
       c.confirmed_at, c.helped_at,
       coalesce(w.name, '') AS workspace_name, w.help_text, w.opt_out_text
  FROM incoming i
  LEFT JOIN contact c ON c.id = i.contact_id
  LEFT JOIN workspace w ON w.workspace_id = i.workspace_id
 WHERE i.open
 ORDER BY i.seq
 LIMIT $1

-- name: traces
-- How many of these texts are still here, whole or as "was here". $1 ids.
SELECT count(*) FROM incoming WHERE id = ANY($1::text[])
