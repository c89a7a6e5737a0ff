"""What happened in a workspace besides its texts: who did what, when, on what, by which request.

A view of the log, kept as rows because it is read from its newest end and by who and what. Texts
are not here: their facts are the timeline's, which says who asked for each. A row names things by
their ids and holds nothing of what they say. What happened with a person who was erased goes with
them (project/privacy.py): its events are deleted, and a rebuild would not find it.
"""

from __future__ import annotations

from services.api.project.tables import AUDIT, Audit
from shared import events as e
from shared.rows import Rows

# Too many, and nobody's doing: attempts to reach a webhook have their own list, a campaign's people
# are counted in its report. What an erasure says to services is nobody's business; that it was
# asked for, took effect and is done is on the list.
LEFT_OUT = frozenset(
    {
        e.WebhookAttempted.TYPE,
        e.CampaignAudience.TYPE,
        e.CampaignSkipped.TYPE,
        e.MessageForgotten.TYPE,
        e.MessageRestated.TYPE,
    }
)
TEXTS = frozenset({"send", "sms", "reply"})
# What a phone is seen to do by itself belongs to the feed of events, not among what people did.
PRESENCE = frozenset({e.PhoneOnline.TYPE, e.PhoneLate.TYPE, e.PhoneOffline.TYPE})
RECORDED = frozenset(
    cls.TYPE
    for cls in e.ALL
    if cls.TYPE.partition(".")[0] not in TEXTS and cls.TYPE not in LEFT_OUT
)


def note(rows: Rows, seq: int, event: e.Event) -> None:
    """Put ``event`` on the list, if it is of those that are."""
    if event.type not in RECORDED:
        return
    rows.put(
        AUDIT,
        Audit(
            workspace_id=event.workspace_id,
            seq=seq,
            at=event.at,
            type=event.type,
            target=event.data.key,
            actor_kind=event.actor.kind,
            actor_id=event.actor.id,
            listed=event.type not in PRESENCE,
            cause=event.cause,
        ),
    )
