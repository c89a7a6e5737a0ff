-- name: feed
-- Which events come next, oldest first. $1 after; $2 how many are looked at; $3 types or null.
-- The newest of those looked at says how far this got, whether or not it is of the types;
-- ``looked`` how many they were.
WITH looked AS (
    SELECT seq, type FROM (
        (SELECT seq, type FROM timeline WHERE seq > $1 ORDER BY seq LIMIT $2)
        UNION
        (SELECT seq, type FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2)) AS both_of_them
     ORDER BY seq LIMIT $2)
SELECT seq, type, (SELECT count(*) FROM looked) AS looked FROM looked
 WHERE $3::text[] IS NULL OR type = ANY($3) OR seq = (SELECT max(seq) FROM looked)
 ORDER BY seq;

-- name: fed_messages
-- The messages of facts, as owner: those whose fact is on record. $1 messages, $2 sequences.
SELECT t.seq, m.workspace_id, m.number, m.body, m.client_ref, m.campaign_id, m.parts,
       m.direction
  FROM unnest($1::text[], $2::bigint[]) AS wanted (message_id, seq)
  JOIN timeline t ON t.message_id = wanted.message_id AND t.seq = wanted.seq
  JOIN message m ON m.id = wanted.message_id;

-- name: fed_others
-- Which facts besides texts are on record, as owner. $1 workspaces, $2 sequences.
SELECT a.seq FROM unnest($1::text[], $2::bigint[]) AS wanted (workspace_id, seq)
  JOIN audit a ON a.workspace_id = wanted.workspace_id AND a.seq = wanted.seq;

-- name: audit_list
-- Newest first. $1 before this sequence; $2 actor, $3 target, $4 types, $5 since, $6 until, each
-- or null; $7 how many.
SELECT *, seq::text AS place FROM audit
 WHERE listed AND seq < $1
   AND ($2::text IS NULL OR actor_id = $2) AND ($3::text IS NULL OR target = $3)
   AND ($4::text[] IS NULL OR type = ANY($4))
   AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
 ORDER BY seq DESC LIMIT $7;
