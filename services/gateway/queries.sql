-- name: credential
-- Who a credential belongs to, and how the phone's row stands (none yet: the rows are behind).
SELECT v.phone_id, v.workspace_id, v.generation, p.generation AS row_generation, p.unpaired
  FROM vault_credential v LEFT JOIN phone p ON p.id = v.phone_id
 WHERE v.hash = $1;

-- name: frames
-- What each of these phones ($1) must be told after a frame ($2), at most $3 frames each.
SELECT s.phone_id, p.unpaired, p.generation,
       o.frame_seq, o.command_id, o.message_id, o.to_number, o.body, o.subscription_id,
       o.expires_at, o.cancel_wanted
  FROM unnest($1::text[], $2::bigint[]) AS s(phone_id, after)
  LEFT JOIN phone p ON p.id = s.phone_id
  LEFT JOIN LATERAL (
       SELECT * FROM offer
        WHERE offer.phone_id = s.phone_id AND offer.frame_seq > s.after
          AND (offer.cancel_wanted OR NOT offer.accepted)
        ORDER BY offer.frame_seq LIMIT $3) o ON true
 ORDER BY s.phone_id, o.frame_seq;

-- name: journal_rows
-- Everything journal calls are decided on: phones ($1), commands ($2), texts ($3), cancels ($4).
SELECT
  (SELECT json_agg(x) FROM (
     SELECT p.id, p.workspace_id, p.generation, p.unpaired, p.sims, p.sims_seq, w.region,
            greatest(p.journal_head, coalesce(v.head, 0)) AS head,
            EXISTS (SELECT FROM renewed n WHERE n.workspace_id = p.workspace_id) AS renewals
       FROM phone p
       LEFT JOIN vault_journal v ON v.phone_id = p.id AND v.generation = p.generation
       LEFT JOIN workspace w ON w.workspace_id = p.workspace_id
      WHERE p.id = ANY($1::text[])) x)::text AS phones,
  (SELECT json_agg(x) FROM (
     SELECT c.id, c.phone_id, c.message_id, c.contact_id, c.attempt, c.parts, c.facts, c.cause,
            coalesce(v.sent, '{}') AS sent, coalesce(v.delivered, '{}') AS delivered
       FROM command c LEFT JOIN vault_parts v ON v.command_id = c.id
      WHERE c.id = ANY($2::text[])) x)::text AS commands,
  (SELECT array_agg(r.message_id) FROM received r
    WHERE r.message_id = ANY($3::text[])) AS received,
  (SELECT json_agg(x) FROM (
     SELECT c.id, c.phone_id, c.message_id, c.contact_id, c.attempt, c.parts, c.facts, c.cause,
            o.frame_seq
       FROM offer o JOIN command c ON c.id = o.command_id
      WHERE o.phone_id = ANY($4::text[]) AND o.cancel_wanted AND NOT o.accepted) x)::text AS cancels;

-- name: save_head
-- How far a journal is acknowledged; never backwards within a generation.
INSERT INTO vault_journal (phone_id, workspace_id, generation, head) VALUES ($1, $2, $3, $4)
    ON CONFLICT (phone_id) DO UPDATE SET generation = excluded.generation, head = excluded.head
 WHERE (excluded.generation, excluded.head) > (vault_journal.generation, vault_journal.head);

-- name: save_parts
-- Parts of a command that were reported so far; what is there is kept.
INSERT INTO vault_parts AS v (command_id, workspace_id, sent, delivered) VALUES ($1, $2, $3, $4)
    ON CONFLICT (command_id) DO UPDATE SET updated_at = now(),
       sent = ARRAY(SELECT DISTINCT unnest(v.sent || excluded.sent)),
       delivered = ARRAY(SELECT DISTINCT unnest(v.delivered || excluded.delivered));

-- name: open_pairing
-- A pairing begins; the tenant's transaction checks whose it is.
INSERT INTO vault_pairing (id, workspace_id, token_hash, label, expires_at, phones_max)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: pairing
-- What became of a pairing.
SELECT id, phone_id, expires_at, completed_at FROM vault_pairing WHERE id = $1;

-- name: pairing_of_token
-- Whose token this is, before anybody takes it.
SELECT id, workspace_id, label, phones_max FROM vault_pairing
 WHERE token_hash = $1 AND completed_at IS NULL AND expires_at > $2;

-- name: take_pairing
-- One device takes the token; the same one may again, until it has its credential.
UPDATE vault_pairing SET device_hash = $2, phone_id = $3
 WHERE id = $1 AND completed_at IS NULL AND expires_at > $4
   AND (device_hash IS NULL OR device_hash = $2)
RETURNING id;

-- name: complete_pairing
-- The token is used up; nobody if a request of the same device was faster.
UPDATE vault_pairing SET completed_at = $2 WHERE id = $1 AND completed_at IS NULL RETURNING id;

-- name: save_credential
-- The phone's credential, in the place of an older one.
INSERT INTO vault_credential (phone_id, workspace_id, hash, generation) VALUES ($1, $2, $3, $4)
    ON CONFLICT (phone_id) DO UPDATE SET hash = excluded.hash, generation = excluded.generation
 WHERE vault_credential.generation <= excluded.generation;

-- name: paired_phone
-- A phone as pairing must know it: which pairing made it what it is.
SELECT generation, label, paired_seq, pairing_id, unpaired, simulated FROM phone WHERE id = $1;

-- name: phones_in_use
-- Real phones of a workspace, and its newest pairing in the log. $1 workspace.
SELECT count(*) FILTER (WHERE NOT unpaired AND NOT simulated) AS used,
       coalesce(max(paired_seq), 0) AS seq
  FROM phone WHERE workspace_id = $1;

-- name: phones
-- Every paired phone as presence must know it; only these, where $1 is given.
SELECT id, workspace_id, state, state_seq FROM phone
 WHERE NOT unpaired AND ($1::text[] IS NULL OR id = ANY($1::text[]));

-- name: sweep_pairings
-- Forget pairings that ended a while ago.
DELETE FROM vault_pairing WHERE expires_at < $1;

-- name: sweep_parts
-- Forget parts that nothing was heard of for long.
DELETE FROM vault_parts WHERE updated_at < $1;

-- name: renewed
-- Whose numbers are since their person was erased. $1 contacts in generation 0.
SELECT id, contact_id FROM renewed WHERE id = ANY($1::text[]);

-- name: traces
-- What is still here of these commands ($1) and messages ($2).
SELECT (SELECT count(*) FROM command WHERE id = ANY($1::text[])) AS commands,
       (SELECT count(*) FROM offer WHERE message_id = ANY($2::text[])) AS offers;
