-- name: campaign
-- One campaign with its counts. $1 id.
SELECT c.*, n.by_state, n.skipped
  FROM campaign c CROSS JOIN LATERAL (
       SELECT jsonb_object_agg(name, count) FILTER (WHERE kind = 'state') AS by_state,
              sum(count) FILTER (WHERE kind = 'skipped') AS skipped
         FROM campaign_count WHERE campaign_id = c.id AND kind IN ('state', 'skipped')) AS n
 WHERE c.id = $1;

-- name: campaigns
-- Newest first. $1 state or null; $2, $3 position; $4 how many.
SELECT c.*, n.by_state, n.skipped
  FROM (SELECT * FROM campaign
         WHERE (created_at, id) < ($2, $3) AND ($1::text IS NULL OR state = $1)
         ORDER BY created_at DESC, id DESC LIMIT $4) AS c
 CROSS JOIN LATERAL (
       SELECT jsonb_object_agg(name, count) FILTER (WHERE kind = 'state') AS by_state,
              sum(count) FILTER (WHERE kind = 'skipped') AS skipped
         FROM campaign_count WHERE campaign_id = c.id AND kind IN ('state', 'skipped')) AS n
 ORDER BY c.created_at DESC, c.id DESC;

-- name: campaign_counts
-- Everything counted but the states. $1 campaign.
SELECT kind, name, phone_id, count FROM campaign_count
 WHERE campaign_id = $1 AND kind <> 'state' AND count <> 0 ORDER BY name, phone_id;

-- name: campaign_replies
-- Replies to a campaign: the newest text their sender had got before was one of its. $1 campaign,
-- $2 its start, $3 until when answers are its.
SELECT count(*) AS replies, count(DISTINCT r.contact_id) AS replied,
       count(DISTINCT r.contact_id) FILTER (WHERE c.consent->>'message_id' = r.id
                                              AND c.consent->>'state' = 'opted_out') AS opted_out
  FROM message r
  JOIN contact c ON c.id = r.contact_id
 CROSS JOIN LATERAL (
       SELECT o.campaign_id FROM message o
        WHERE o.contact_id = r.contact_id AND o.created_at < r.created_at
          AND o.direction = 'outbound' AND o.source <> 'confirmation'
        ORDER BY o.created_at DESC, o.id DESC LIMIT 1) AS last
 WHERE r.direction = 'inbound' AND r.created_at >= $2 AND r.created_at < $3
   AND last.campaign_id = $1;

-- name: everybody
-- Everybody there is.
SELECT id FROM contact;

-- name: tagged
-- Contacts listed under at least $2 of the entries $1.
SELECT contact_id AS id FROM contact_word WHERE word = ANY($1::text[])
 GROUP BY contact_id HAVING count(*) >= $2;

-- name: found
-- As contacts_found: an entry in each of the word ranges ($1, $2), or a number in one of the number
-- ranges ($3, $4).
SELECT w.contact_id AS id
  FROM unnest($1::text[], $2::text[]) AS q (first, last)
  JOIN contact_word w ON w.word >= q.first AND w.word <= q.last
 GROUP BY w.contact_id HAVING count(DISTINCT q.first) = cardinality($1)
 UNION
SELECT n.id FROM unnest($3::text[], $4::text[]) AS q (first, last)
  JOIN contact n ON n.number COLLATE "C" >= q.first AND n.number COLLATE "C" <= q.last;

-- name: recipients_in_full
-- Of these contacts, in this order, those who also have one of the entries $2, all of the entries
-- $3, none of the entries $4, who opted in if $5, and have the custom fields $6 (each condition
-- null where there is none). With the phone each last spoke with. $1 ids.
SELECT c.id, c.number, c.kind, c.opted_out, c.timezone, c.first_name, c.last_name, c.email,
       c.company, c.custom_fields, m.phone_id
  FROM unnest($1::text[]) WITH ORDINALITY AS wanted (id, n)
 CROSS JOIN LATERAL (SELECT * FROM contact one WHERE one.id = wanted.id LIMIT 1) AS c
  LEFT JOIN conversation v ON v.contact_id = c.id
  LEFT JOIN message m ON m.id = v.last_message_id
 WHERE ($2::text[] IS NULL OR EXISTS (
        SELECT FROM contact_word w WHERE w.word = ANY($2) AND w.contact_id = c.id))
   AND ($3::text[] IS NULL OR cardinality($3) = (
        SELECT count(*) FROM contact_word w WHERE w.word = ANY($3) AND w.contact_id = c.id))
   AND ($4::text[] IS NULL OR NOT EXISTS (
        SELECT FROM contact_word w WHERE w.word = ANY($4) AND w.contact_id = c.id))
   AND (NOT $5 OR c.consent->>'state' = 'opted_in')
   AND ($6::jsonb IS NULL OR c.custom_fields @> $6)
 ORDER BY wanted.n;

-- name: pending
-- Recipients of a start whose turn has not come. $1 campaign, $2 audience.
SELECT who.id
  FROM (SELECT jsonb_array_elements_text(contact_ids) AS id FROM audience
         WHERE audience_id = $2) AS who
 WHERE NOT EXISTS (SELECT FROM skip s WHERE s.campaign_id = $1 AND s.contact_id = who.id)
   AND who.id NOT IN (SELECT contact_id FROM message WHERE campaign_id = $1);

-- name: campaign_phones
-- Of these phones, those that can be asked to send. $1 ids.
SELECT id, simulated FROM phone WHERE id = ANY($1::text[]) AND paired;
