"""The scheduler: decides which phone sends which text, when, and says why one waits.

In:      send.*, sms.* (what became of a command), contact.* (consent, timezone), reply.received
         (which phone a contact last spoke with), phone.*, workspace.*
Out:     send.dispatched, send.held, send.rejected, send.cancelled, send.expired,
         send.cancel_requested (to recall a command from a silent phone)
Tables:  workspace, phone, contact, message
Asked:   explain (why does this wait), preview (what would happen), phones (caps and next slots),
         limits (the defaults of every phone), loosenings (warnings in words),
         parked (quarantined messages)
Outside: nobody. policy.py holds every rule as a pure function.
"""
