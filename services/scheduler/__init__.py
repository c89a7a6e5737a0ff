"""The scheduler: decides which phone sends which text, when, and says why one waits.

In:      send.*, sms.* (what became of a command), contact.* (consent, timezone), reply.received
         (which phone a contact last spoke with), phone.*, workspace.*, campaign.*,
         message.forgotten, message.restated (what is erased, and what it had used up)
Out:     send.dispatched, send.held, send.rejected, send.cancelled, send.expired,
         send.cancel_requested (to recall a command from a silent phone, and what is left of a
         cancelled campaign), send.requested, campaign.skipped (whose turn came in a campaign),
         campaign.completed
Tables:  workspace, phone, contact, message, standing, campaign, audience, skip
Asked:   explain (why does this wait), preview (what would happen), phones (caps and next slots),
         limits (the defaults of every phone), loosenings (warnings in words),
         parked (quarantined messages), forecast (when would a campaign end),
         traces, standings (while somebody is erased)
Asks:    api (recipients: what people in a campaign would get)
Outside: nobody. policy.py holds every rule as a pure function.
"""
