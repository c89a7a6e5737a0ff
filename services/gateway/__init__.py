"""The gateway: the only service that phones talk to (ARCHITECTURE.md, the phone protocol).

In:      send.dispatched (a command to hand over), send.cancel_requested, send.cancelled,
         send.expired, send.rejected (take it back), sms.* (what the phones said, read back),
         phone.*, workspace.created and .updated (the region of numbers without +),
         contact.erased (whose the number is now), message.forgotten (what nobody may hold any more)
Out:     sms.accepted, sms.submitted, sms.sent, sms.delivered, sms.failed, sms.unknown,
         sms.cancelled, sms.received, phone.paired, phone.online, phone.late, phone.offline,
         phone.sims_changed
Tables:  phone, offer (commands with something to tell the phone), command (what was said about
         each), received, workspace, renewed (numbers of people who were erased); in the vault:
         vault_pairing, vault_credential, vault_journal, vault_parts
Asked:   open_pairing (a link for a new phone), pairing (what became of it), traces
Outside: the phones, over HTTP: POST /phone/v1/pair, GET /phone/v1/stream, POST /phone/v1/journal.

One command: project.py (a row) → stream.py (down the phone's stream) → journal.py with decide.py
(what the phone says comes up) → project.py. Signs of life: presence.py → standing.py, act.py.
"""
