"""Reads what people text back and decides what it means for consent.

In       sms.received (opens a text), reply.received (closes it), contact.opted_out,
         contact.opted_in, contact.erased, message.forgotten, workspace.created,
         workspace.updated
Out      contact.opted_out, contact.opted_in, send.requested (the opt-out confirmation, the help
         text), reply.received, which is always the last of a text
Tables   incoming, contact, workspace
Answers  traces
Outside  nobody
"""
