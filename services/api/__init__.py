"""The public REST API: accepts texts into the log, shows what became of them, keeps the settings
and the team, and signs people in.

In:      workspace.*, api_key.*, member.*, contact.*, conversation.*, phone.*, campaign.*, send.*,
         sms.*, reply.received, webhook.endpoint_*, webhook.attempted, subscription.*, privacy.*,
         message.forgotten
Out:     send.requested, send.cancel_requested, send.resolved, contact.saved, contact.opted_out,
         contact.opted_in, conversation.*, phone.configured, phone.unpaired, workspace.created,
         workspace.updated, member.*, api_key.created, api_key.revoked, subscription.changed,
         campaign.* (all but skipped and completed), contact.erased, conversation.erased,
         message.forgotten, message.restated, privacy.*
Tables:  workspace, api_key, member, phone, contact, contact_word, contact_field, conversation,
         message, message_word, timeline, endpoint, attempt, audit, subscription, campaign,
         audience, skip, campaign_count, renewed, privacy_request;
         vault_idempotency, vault_key_use, vault_request, vault_task, vault_file, vault_file_chunk,
         vault_user, vault_one_time, vault_session, vault_refresh_token, vault_signing_key,
         vault_mail, vault_erasure
Asks:    gateway (open_pairing, pairing),
         scheduler (explain, preview, phones, limits, loosenings, forecast),
         webhooks (save_endpoint, remove_endpoint, rotate_secret, test, resend, replay),
         whoever keeps anything about people (traces), scheduler (standings)
Asked:   recipients (what people in a campaign would get)
Outside: the host of simulated phones (simulator.py), Stripe (outside/stripe.py), Supabase
         (outside/supabase.py), a mail server (shared/mail.py)

Every answer: answering.py, with limits.py and access.py.
The event feed: feed.py says what is shown, live.py tells it on, routes/events.py serves it.

Reading order: operation.py, dispatch.py, routes/sms.py, decide.py, reading.py, project/message.py.
People: callers.py, users.py, sign_in/__init__.py; mail goes out by postman.py.
Erasure: erasure.py carries it out, project/privacy.py makes it take effect; docs/privacy.md.
Long work: tasks/__init__.py. Plans and payment: decide/plan.py, billing/desk.py.
"""
