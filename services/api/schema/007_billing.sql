-- What a workspace pays for, as Stripe last said; none for those that never went to the check-out.
CREATE TABLE subscription (
    workspace_id text PRIMARY KEY,
    customer_id text NOT NULL,
    livemode boolean NOT NULL,
    state text NOT NULL CHECK (state IN (
        'none', 'incomplete', 'trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled')),
    plan text,
    subscription_id text,
    price_id text,
    period_end timestamptz,
    ends_at timestamptz,
    grace_until timestamptz,             -- set exactly while a payment is owed
    others integer NOT NULL CHECK (others >= 0),
    seq bigint NOT NULL,                 -- its newest event: what the next one is guarded by
    updated_at timestamptz NOT NULL,
    CHECK ((grace_until IS NOT NULL) = (state IN ('past_due', 'unpaid'))),
    CHECK ((state = 'none') = (subscription_id IS NULL))
);
CREATE INDEX subscription_customer ON subscription (customer_id);

-- How many contacts a plan's limit counts: those that were saved, not those who only texted.
CREATE INDEX contact_saved ON contact (workspace_id) WHERE saved;
