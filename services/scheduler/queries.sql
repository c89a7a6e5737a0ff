-- name: all_workspaces
-- Everything a term of leading begins with.
SELECT * FROM workspace;

-- name: all_phones
-- Unpaired ones too: a text may still name one.
SELECT * FROM phone;

-- name: active_queues
-- Queues with somebody in line.
SELECT DISTINCT queue, workspace_id FROM message WHERE state = 'waiting';

-- name: candidates
-- The head of each queue: what is due now, in order. $1 queues, $2 whether texts of test keys can
-- go from there, $3 now, $4 how many of each.
SELECT m.*, c.opted_out, c.seq AS contact_seq, c.phone_id AS contact_phone, c.timezone AS contact_tz
  FROM unnest($1::text[], $2::boolean[]) AS q(queue, simulated)
 CROSS JOIN LATERAL (
       SELECT * FROM message
        WHERE message.queue = q.queue AND state = 'waiting' AND wake_at <= $3
          AND (q.simulated OR NOT test)
        ORDER BY lane, wake_at, requested_seq LIMIT $4) AS m
  LEFT JOIN contact c ON c.id = m.contact_id;

-- name: unexplained
-- In queues that cannot move: who has not been told why yet. $1 queues, $2 how many of each.
SELECT m.*, c.opted_out, c.seq AS contact_seq, c.phone_id AS contact_phone, c.timezone AS contact_tz
  FROM unnest($1::text[]) AS q(queue)
 CROSS JOIN LATERAL (
       SELECT * FROM message
        WHERE message.queue = q.queue AND state = 'waiting' AND reason IS NULL
        ORDER BY requested_seq LIMIT $2) AS m
  LEFT JOIN contact c ON c.id = m.contact_id;

-- name: next_wake
-- When the next text of each queue becomes due. $1 queues, $2 now.
SELECT q.queue, (SELECT min(wake_at) FROM message
                  WHERE message.queue = q.queue AND state = 'waiting' AND wake_at > $2) AS wake_at
  FROM unnest($1::text[]) AS q(queue);

-- name: expiring
-- Texts and commands whose time has run out, and commands recalled in vain that nobody ever
-- accepted. An accepted one is the phone's to tell. $1 now, $2 now less the grace, $3 how many.
SELECT m.*, c.opted_out, c.seq AS contact_seq, c.phone_id AS contact_phone, c.timezone AS contact_tz
  FROM message m LEFT JOIN contact c ON c.id = m.contact_id
 WHERE m.state IN ('waiting', 'dispatched') AND m.expires_at <= $1
   AND (m.state = 'waiting' OR m.cancel IS NULL OR (NOT m.accepted AND m.expires_at <= $2))
 ORDER BY m.expires_at LIMIT $3;

-- name: next_expiry
-- When the next one runs out. $1 now, $2 now less the grace, $3 the grace.
SELECT least(
    (SELECT min(expires_at) FROM message
      WHERE state IN ('waiting', 'dispatched') AND expires_at > $1
        AND (state = 'waiting' OR cancel IS NULL)),
    (SELECT min(expires_at) + $3::interval FROM message
      WHERE state = 'dispatched' AND cancel IS NOT NULL AND NOT accepted AND expires_at > $2));

-- name: open_messages
-- What a rule must decide about, and what was cancelled before it was dispatched and so must be
-- recalled; the quarantined wait for a person. $1 how many.
SELECT m.*, c.opted_out, c.seq AS contact_seq, c.phone_id AS contact_phone, c.timezone AS contact_tz
  FROM message m LEFT JOIN contact c ON c.id = m.contact_id
 WHERE m.state = 'open' AND m.outcome <> 'quarantined'
    OR m.state = 'dispatched' AND m.outcome = 'cancelled'
 ORDER BY m.requested_seq LIMIT $1;

-- name: stranded
-- Commands a silent phone never accepted, past their lease. $1 phone, $2 dispatched before.
SELECT m.*, c.opted_out, c.seq AS contact_seq, c.phone_id AS contact_phone, c.timezone AS contact_tz
  FROM message m LEFT JOIN contact c ON c.id = m.contact_id
 WHERE m.dispatched_to = $1 AND m.state = 'dispatched' AND NOT m.accepted AND m.cancel IS NULL
   AND m.phone_id IS NULL AND m.dispatched_at <= $2;

-- name: one_message
-- A message with its contact, whatever its state.
SELECT m.*, c.opted_out, c.seq AS contact_seq, c.phone_id AS contact_phone, c.timezone AS contact_tz
  FROM message m LEFT JOIN contact c ON c.id = m.contact_id WHERE m.id = $1;

-- name: ahead
-- How many that are due by then stand before it. $1 queue, $2 lane, $3 wake_at, $4 requested_seq,
-- $5 now.
SELECT count(*) FROM message
 WHERE queue = $1 AND state = 'waiting' AND (lane, wake_at, requested_seq) < ($2, $3, $4)
   AND wake_at <= greatest($3, $5);

-- name: desk_workspace
-- The account behind a question.
SELECT * FROM workspace WHERE id = $1;

-- name: desk_phones
-- Its phones.
SELECT * FROM phone WHERE workspace_id = $1;

-- name: desk_contact
-- What a contact adds to a decision.
SELECT * FROM contact WHERE id = $1;

-- name: parked
-- Quarantined messages, oldest first: a person decides. $1 workspace or null for all.
SELECT id, workspace_id, contact_id, dispatched_to, attempt, dispatched_at, outcome FROM message
 WHERE state = 'open' AND outcome = 'quarantined' AND ($1::text IS NULL OR workspace_id = $1)
 ORDER BY requested_seq LIMIT 500;
