-- Whose a number is since the person who had it was erased. The id is that of the contact in
-- generation 0, a keyed hash of the number: nothing else of it is left.
CREATE TABLE renewed (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    contact_id text NOT NULL,            -- who it is now, or would be
    generation integer NOT NULL CHECK (generation > 0),
    suppressed boolean NOT NULL          -- a STOP outlives the person
);

-- What was asked for, and what came of it. What is under way is in vault_erasure.
CREATE TABLE privacy_request (
    id text PRIMARY KEY,
    workspace_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('erasure', 'export')),
    scope text NOT NULL CHECK (scope IN ('contact', 'conversation', 'message', 'account',
                                         'retention')),
    state text NOT NULL CHECK (state IN ('requested', 'erasing', 'done')),
    requested_by text NOT NULL,
    created_at timestamptz NOT NULL,
    seq bigint NOT NULL,                 -- what took effect: everything before it goes
    contact_id text,
    message_id text,
    before timestamptz,
    counts jsonb,
    fulfilled_at timestamptz,
    CHECK ((state = 'done') = (fulfilled_at IS NOT NULL))
);
CREATE INDEX privacy_request_listed ON privacy_request (workspace_id, created_at DESC, id DESC);
CREATE INDEX privacy_request_open ON privacy_request (created_at, id) WHERE state <> 'done';

-- Sending to a number finds the contact it belongs to now, in the same round trip: `asked` is the
-- id that was asked for, and there is no number where the person was erased and nobody new began.
CREATE FUNCTION recipients(workspace text, ids text[])
    RETURNS TABLE (asked text, id text, number text, kind text, opted_out boolean, timezone text)
    LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    PERFORM set_config('app.workspace_id', workspace, true);
    -- Planned each time and one by one, so that each is found by its key: a plan made while the
    -- table was small goes, by the policy's workspace, through every contact of it.
    IF NOT EXISTS (SELECT FROM renewed) THEN  -- nobody was erased here: the plan is the key's alone
        RETURN QUERY SELECT wanted.asked, found.*
                       FROM unnest(ids) AS wanted (asked) CROSS JOIN LATERAL (
                            SELECT k.id, k.number, k.kind, k.opted_out, k.timezone
                              FROM contact k WHERE k.id = wanted.asked LIMIT 1) AS found;
        RETURN;
    END IF;
    RETURN QUERY SELECT wanted.asked, coalesce(c.id, n.contact_id), c.number, c.kind,
                        coalesce(c.opted_out, n.suppressed), c.timezone
                   FROM unnest(ids) AS wanted (asked)
                   LEFT JOIN LATERAL (SELECT r.contact_id, r.suppressed FROM renewed r
                                       WHERE r.id = wanted.asked LIMIT 1) AS n ON true
                   LEFT JOIN LATERAL (SELECT k.id, k.number, k.kind, k.opted_out, k.timezone
                                        FROM contact k
                                       WHERE k.id = coalesce(n.contact_id, wanted.asked)
                                       LIMIT 1) AS c ON true
                  WHERE c.id IS NOT NULL OR n.contact_id IS NOT NULL;
END $$;

-- What was said with a contact, what is noted of it before `until` (except types that stay, of those
-- like `going`), and what it added to the counts of campaigns. A count that is nothing has no row:
-- a rebuild, which never sees what was erased, would not make one.
CREATE FUNCTION forget_contact(
    contact text, workspace text, until bigint, staying text[], going text) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE campaign_count c SET count = c.count - less.n
      FROM (SELECT m.campaign_id, 'state' AS kind, m.state AS name, '' AS phone_id, count(*) AS n
              FROM message m
             WHERE m.contact_id = contact AND m.campaign_id IS NOT NULL GROUP BY 1, 3
             UNION ALL
            SELECT m.campaign_id, 'error', coalesce(m.error_code, m.state), '', count(*)
              FROM message m
             WHERE m.contact_id = contact AND m.campaign_id IS NOT NULL
               AND m.state IN ('failed', 'rejected', 'expired', 'unknown') GROUP BY 1, 3
             UNION ALL
            SELECT m.campaign_id, 'dispatched',
                   to_char(date_bin('15 minutes', t.at AT TIME ZONE 'UTC', '2000-01-01'),
                           'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
                   t.detail ->> 'phone_id', count(*)
              FROM message m JOIN timeline t ON t.message_id = m.id AND t.type = 'send.dispatched'
             WHERE m.contact_id = contact AND m.campaign_id IS NOT NULL GROUP BY 1, 3, 4) AS less
     WHERE (c.campaign_id, c.kind, c.name, c.phone_id)
         = (less.campaign_id, less.kind, less.name, less.phone_id);
    DELETE FROM campaign_count c WHERE c.workspace_id = workspace AND c.count = 0;
    DELETE FROM message_word w USING message m
     WHERE m.contact_id = contact AND w.message_id = m.id;
    DELETE FROM timeline t USING message m WHERE m.contact_id = contact AND t.message_id = m.id;
    DELETE FROM message m WHERE m.contact_id = contact;
    DELETE FROM audit a
     WHERE a.workspace_id = workspace AND a.target = contact AND a.seq < until
       AND a.type <> ALL (staying) AND a.type LIKE going;
END $$;
