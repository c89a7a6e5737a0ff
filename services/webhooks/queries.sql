-- name: open_endpoints
-- Endpoints with something to deliver, now or later.
SELECT DISTINCT endpoint_id FROM delivery WHERE state = 'open'

-- name: claim
-- For each endpoint ($1) as many due deliveries as it has room for ($2) at a time ($3), except those
-- under way ($4), with their bytes and secrets, the current one first; and when its next is due.
-- Ordered deliveries go one by one in each conversation; the oldest $5 of an endpoint are looked at.
SELECT lane.endpoint_id, e.workspace_id, e.url, e.failing_since,
       d.id AS delivery_id, d.event_id, d.event_type, d.attempt, d.trigger, d.opened_by,
       p.body, s.sealed, soon.later
  FROM unnest($1::text[], $2::int[]) AS lane (endpoint_id, room)
  JOIN endpoint e ON e.id = lane.endpoint_id
 CROSS JOIN LATERAL (
       SELECT least((SELECT min(n.next_at) FROM delivery n
                      WHERE n.endpoint_id = lane.endpoint_id AND n.state = 'open'
                        AND n.ordered_by IS NULL AND n.next_at > $3),
                    (SELECT min(w.next_at) FROM (
                            SELECT next_at FROM delivery
                             WHERE endpoint_id = lane.endpoint_id AND state = 'open'
                               AND ordered_by IS NOT NULL
                             ORDER BY seq LIMIT $5) w
                      WHERE w.next_at > $3)) AS later
       OFFSET 0) soon  -- once for an endpoint, not for each of its deliveries
  LEFT JOIN LATERAL (
       (SELECT o.* FROM delivery o
         WHERE o.endpoint_id = lane.endpoint_id AND o.state = 'open' AND o.ordered_by IS NULL
           AND o.next_at <= $3 AND o.id <> ALL ($4::text[])
         ORDER BY o.next_at, o.seq LIMIT lane.room)
       UNION ALL
       (SELECT f.* FROM (
               SELECT DISTINCT ON (w.ordered_by) w.* FROM (
                      SELECT * FROM delivery
                       WHERE endpoint_id = lane.endpoint_id AND state = 'open'
                         AND ordered_by IS NOT NULL
                       ORDER BY seq LIMIT $5) w
                ORDER BY w.ordered_by, w.seq) f
         WHERE f.next_at <= $3 AND f.id <> ALL ($4::text[])
         ORDER BY f.next_at, f.seq LIMIT lane.room)
       ORDER BY next_at, seq LIMIT lane.room) d ON true
  LEFT JOIN payload p ON p.event_id = d.event_id
  LEFT JOIN LATERAL (
       SELECT array_agg(v.sealed ORDER BY v.expires_at IS NOT NULL, v.created_at DESC) AS sealed
         FROM vault_secret v
        WHERE v.endpoint_id = d.endpoint_id AND (v.expires_at IS NULL OR v.expires_at > $3)) s
    ON true
 ORDER BY d.next_at, d.seq

-- name: close_open
-- An endpoint ($1) was switched off or removed: what was open ends here, to be replayed on wish.
UPDATE delivery SET state = 'exhausted', next_at = NULL, error = 'endpoint_disabled'
 WHERE endpoint_id = $1 AND state = 'open'

-- name: reopen
-- A replay ($1, asked for at $2): an endpoint's ($3) closed deliveries since a time ($4), of some
-- types or all ($5 null), only the failed ones ($6), the oldest first and at most $7; the backlog of
-- its workspace ($8) grows by as many.
WITH chosen AS (
    SELECT id FROM delivery
     WHERE endpoint_id = $3 AND at >= $4 AND state <> 'open' AND trigger <> 'test'
       AND ($5::text[] IS NULL OR event_type = ANY ($5)) AND (NOT $6 OR state = 'exhausted')
     ORDER BY at, seq, id LIMIT $7
), opened AS (
    UPDATE delivery d
       SET state = 'open', trigger = 'replay', opened_by = $1, attempt = 0, next_at = $2,
           status = NULL, error = NULL
      FROM chosen WHERE d.id = chosen.id
    RETURNING d.id
)
UPDATE subscription
   SET backlog = backlog || jsonb_build_object(
       $3::text, coalesce((backlog ->> $3::text)::int, 0) + (SELECT count(*) FROM opened))
 WHERE workspace_id = $8

-- name: prune
-- What is older than $1 and closed, at most $2 rows of each table; and messages done with at $3.
WITH old_delivery AS (
    DELETE FROM delivery WHERE id IN (
        SELECT id FROM delivery WHERE at < $1 AND state <> 'open' ORDER BY at, id LIMIT $2)
), needed AS MATERIALIZED (
    SELECT event_id FROM delivery WHERE at < $1 AND state = 'open'
), old_payload AS (
    DELETE FROM payload WHERE event_id IN (
        SELECT event_id FROM payload p
         WHERE at < $1 AND NOT EXISTS (SELECT 1 FROM needed n WHERE n.event_id = p.event_id)
         ORDER BY at, event_id LIMIT $2)
), old_attempt AS (
    DELETE FROM attempt WHERE id IN (
        SELECT id FROM attempt WHERE at < $1 ORDER BY at, id LIMIT $2)
)
DELETE FROM message WHERE id IN (
    SELECT id FROM message WHERE keep_until < $3 ORDER BY keep_until, id LIMIT $2)

-- name: endpoint
-- One endpoint that was not removed.
SELECT id, url, types, enabled, ordered, description, disabled_reason, failing_since,
       created_at, updated_at
  FROM endpoint WHERE id = $1 AND NOT removed

-- name: workspace_endpoints
-- How many endpoints the workspace has, and the sequence of the last save of one.
SELECT (SELECT count(*) FROM endpoint WHERE NOT removed) AS endpoints,
       coalesce((SELECT saved_seq FROM subscription), 0) AS saved_seq

-- name: delivery_of_attempt
-- The delivery an attempt was of, and whether its endpoint can take it again.
SELECT d.id AS delivery_id, d.endpoint_id, e.enabled
  FROM attempt a
  JOIN delivery d ON d.id = a.delivery_id
  JOIN endpoint e ON e.id = d.endpoint_id AND NOT e.removed
 WHERE a.id = $1

-- name: count_replay
-- How many deliveries a replay asked for now would open: the same choice as in reopen.
SELECT count(*) FROM (
    SELECT 1 FROM delivery
     WHERE endpoint_id = $1 AND at >= $2 AND state <> 'open' AND trigger <> 'test'
       AND ($3::text[] IS NULL OR event_type = ANY ($3)) AND (NOT $4 OR state = 'exhausted')
     LIMIT $5) chosen

-- name: parked
-- The newest deliveries that were given up, with their last error.
SELECT d.id AS delivery_id, d.endpoint_id, d.event_id, d.event_type, d.at, d.attempt AS attempts,
       d.status, d.error
  FROM delivery d WHERE d.state = 'exhausted' ORDER BY d.at DESC LIMIT $1

-- name: add_secret
-- A new current secret.
INSERT INTO vault_secret (id, endpoint_id, workspace_id, sealed, created_at)
VALUES ($1, $2, $3, $4, $5)

-- name: live_secrets
-- How many secrets an endpoint signs with now; expired ones are of no use to anybody.
WITH dead AS (DELETE FROM vault_secret WHERE endpoint_id = $1 AND expires_at <= $2)
SELECT count(*) FROM vault_secret
 WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2)

-- name: retire_secret
-- The current secret signs along until $2.
UPDATE vault_secret SET expires_at = $2 WHERE endpoint_id = $1 AND expires_at IS NULL

-- name: drop_secrets
-- A removed endpoint signs nothing any more.
DELETE FROM vault_secret WHERE endpoint_id = $1

-- name: forget
-- Deliveries and bodies of these events ($1), and the backlog of their workspace ($2) without them.
-- Endpoints without a backlog have no entry: one that only these were open for never had one.
WITH gone AS (
    DELETE FROM delivery WHERE event_id = ANY ($1::text[]) RETURNING endpoint_id, state
), bodies AS (
    DELETE FROM payload WHERE event_id = ANY ($1::text[])
), ended AS (
    SELECT endpoint_id, count(*) AS n FROM gone WHERE state = 'open' GROUP BY endpoint_id
)
UPDATE subscription SET backlog = coalesce((
    SELECT jsonb_object_agg(b.key, b.value::int - coalesce(e.n, 0))
      FROM jsonb_each_text(backlog) b LEFT JOIN ended e ON e.endpoint_id = b.key
     WHERE b.value::int > coalesce(e.n, 0)), '{}')
 WHERE workspace_id = $2

-- name: traces
-- What is still here of these messages ($1) and events ($2).
SELECT (SELECT count(*) FROM message WHERE id = ANY ($1::text[])) AS messages,
       (SELECT count(*) FROM payload WHERE event_id = ANY ($2::text[])) AS payloads,
       (SELECT count(*) FROM delivery WHERE event_id = ANY ($2::text[])) AS deliveries
