-- name: subscription
-- What the workspace of this transaction pays for.
SELECT * FROM subscription;

-- name: workspaces_of_customer
-- Whom a customer of Stripe pays for. $1 the customer, $2 in Stripe's live mode or not.
SELECT workspace_id FROM subscription WHERE customer_id = $1 AND livemode = $2;

-- name: customers_after
-- Workspaces with a customer at Stripe, in order. $1 the last one seen, $2 mode, $3 how many.
SELECT workspace_id FROM subscription WHERE workspace_id > $1 AND livemode = $2
 ORDER BY workspace_id LIMIT $3;

-- name: phones_used
-- Phones a plan's limit counts: real ones. No more than $1 are counted.
SELECT count(*) FROM (SELECT FROM phone WHERE paired AND NOT simulated LIMIT $1) AS counted;

-- name: contacts_used
-- Contacts a plan's limit counts: saved ones. No more than $1 are counted.
SELECT count(*) FROM (SELECT FROM contact WHERE saved LIMIT $1) AS counted;

-- name: seats_used
-- Seats a plan's limit counts: members, and invitations not answered yet. No more than $1.
SELECT count(*) FROM (SELECT FROM member WHERE state <> 'removed' LIMIT $1) AS counted;
