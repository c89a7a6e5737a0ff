"""A service as small as one can be, to try the frame with: counts texts, answers, acts.

In:      send.requested, send.rejected, contact.saved, phone.unpaired
Out:     send.rejected (for a text that says "reject me")
Tables:  note, person
"""
