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
-- go from there, $3 how many of each, $4 now.
SELECT m.*, c.opted_out, c.seq AS contact_seq, c.phone_id AS contact_phone, c.timezone AS contact_tz
  FROM unnest($1::text[], $2::boolean[], $3::int[]) AS q(queue, simulated, most)
 CROSS JOIN LATERAL (
       SELECT * FROM message
        WHERE message.queue = q.queue AND state = 'waiting' AND wake_at <= $4
          AND (q.simulated OR NOT test)
        ORDER BY lane, wake_at, requested_seq LIMIT q.most) AS m
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

-- name: live_campaigns
-- Campaigns whose texts may still be in a queue.
SELECT * FROM campaign c
 WHERE state IN ('running', 'paused') OR (state = 'cancelled' AND EXISTS (
       SELECT FROM message m WHERE m.campaign_id = c.id AND m.state <> 'final'));

-- name: one_campaign
-- The campaign of a message. $1 id.
SELECT * FROM campaign WHERE id = $1;

-- name: campaign_people
-- Whose turn is to come, in order. $1 audience, $2 campaign.
SELECT who.id
  FROM (SELECT part, each.id, each.n FROM audience,
               jsonb_array_elements_text(contact_ids) WITH ORDINALITY AS each (id, n)
         WHERE audience_id = $1) AS who
 WHERE who.id NOT IN (SELECT contact_id FROM message WHERE campaign_id = $2)
   AND who.id NOT IN (SELECT contact_id FROM skip WHERE campaign_id = $2)
 ORDER BY who.part, who.n;

-- name: campaign_skips
-- How many of a campaign's people got nothing. $1 campaign.
SELECT count(*) FROM skip WHERE campaign_id = $1;

-- name: campaign_texts
-- A campaign's texts of which it is not known what became of them. $1 campaign.
SELECT id, contact_id, state, queue, wake_at, outcome FROM message
 WHERE campaign_id = $1 AND state <> 'final';

-- name: known_phones
-- Which phone each of these contacts last spoke with. $1 ids.
SELECT c.id, c.phone_id FROM unnest($1::text[]) AS who (id) JOIN contact c ON c.id = who.id
 WHERE c.phone_id IS NOT NULL;

-- name: queued_ahead
-- What waits in a workspace's lines, by line, lane, campaign and hour it is due. $1 workspace.
SELECT queue, lane, campaign_id, date_trunc('hour', wake_at) AS due, count(*) AS count
  FROM message WHERE workspace_id = $1 AND state = 'waiting' GROUP BY 1, 2, 3, 4;

-- name: other_campaigns
-- The other campaigns of a workspace under way, and how many of each one's people are to come.
-- $1 workspace, $2 this campaign.
SELECT c.*, c.recipients - (SELECT count(*) FROM message m WHERE m.campaign_id = c.id)
                         - (SELECT count(*) FROM skip s WHERE s.campaign_id = c.id) AS pending
  FROM campaign c WHERE c.workspace_id = $1 AND c.id <> $2 AND c.state = 'running';

-- name: traces
-- How many of these messages are still here. $1 ids.
SELECT count(*) FROM message WHERE id = ANY($1::text[]);

-- name: standings
-- How phones and contacts stood when messages were forgotten. $1 the event.
SELECT * FROM standing WHERE forgotten = $1;
