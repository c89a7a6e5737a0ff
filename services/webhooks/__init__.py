"""Tells customers' servers what happened: endpoints, deliveries, attempts, replays.

In       webhook.> (endpoints, attempts, wishes to test, resend, replay), send.requested (whom a
         message goes to), and what is delivered: sms.sent, sms.delivered, sms.failed,
         reply.received, contact.opted_out, contact.opted_in, phone.online, phone.offline;
         message.forgotten, privacy.fulfilled (what is kept no longer)
Out      webhook.endpoint_saved, webhook.endpoint_removed, webhook.endpoint_disabled,
         webhook.attempted, webhook.test_requested, webhook.resend_requested,
         webhook.replay_requested
Tables   endpoint, subscription, message, payload, delivery, attempt, pruned; in the vault
         vault_secret
Answers  save_endpoint, remove_endpoint, rotate_secret, test, resend, replay, parked, traces
Outside  the customers' servers (outside.py), guarded by address.py and signed by sign.py
"""
