"""Log → webhooks' tables. The only writer of their rows.

What happened opens a delivery for every enabled endpoint that subscribes to it; webhook.attempted
closes it, or says when it is tried again. Closed deliveries stay for KEPT: a replay or a resend
opens them again under the same webhook-id. A rebuild finds every delivery closed that was closed,
so it sends nothing twice.

An endpoint that is switched off or removed ends what it has open: those deliveries count as
exhausted, and a replay of the failed ones brings them back once it is on again. While it is off, no
delivery is opened for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.webhooks import shapes
from services.webhooks.decide import wants
from services.webhooks.tables import (
    ALL,
    ATTEMPT,
    DELIVERY,
    ENDPOINT,
    MESSAGE,
    PAYLOAD,
    PRUNED,
    SUBSCRIPTION,
    TABLES,
    Attempt,
    Delivery,
    Endpoint,
    Message,
    Payload,
    Pruned,
    Subscription,
)
from shared import events, ids
from shared.events import Event
from shared.outward import About
from shared.projector import Projection
from shared.rows import Rows
from shared.sql import queries

FILTERS = (
    "webhook.>",
    "send.requested.>",
    "message.forgotten.>",
    "privacy.fulfilled.>",
    *(f"{name}.>" for name in shapes.TYPES),
)
KEPT = timedelta(days=30)  # closed deliveries, for replays; and what anybody may ask to see again
# A carrier gives up on a text after at most three days (the usual validity); no event comes later.
MESSAGE_KEPT = timedelta(days=3)
PRUNE_EVERY = timedelta(hours=1)  # of the log's time, and sooner when
PRUNE_AFTER = 2000  # so many rows were made: little at once, so that no batch is slow
PRUNE_MAX = 4000  # rows of a table in one go: more than were made, so that what is late catches up
PRUNE_ALL = 2**62
BACKLOG_MAX = 100_000  # open deliveries of one endpoint; what comes then is exhausted at once
REPLAY_MAX = 10_000  # deliveries opened by one replay (as Svix); a later `since` opens the rest
FIRST = datetime(2000, 1, 1, tzinfo=UTC)  # due before all that waits: somebody is looking

sql = queries("services.webhooks")


def apply(rows: Rows, seq: int, event: Event) -> None:
    """Fold one event into the rows."""
    data = event.data
    if event.type in shapes.TOLD:
        _happened(rows, seq, event)
    else:
        match data:
            case events.SendRequested():
                _requested(rows, event, data)
            case events.WebhookAttempted():
                _attempted(rows, event, data)
            case events.WebhookEndpointSaved():
                _saved(rows, seq, event, data)
            case events.WebhookEndpointRemoved():
                _removed(rows, data.endpoint_id)
            case events.WebhookEndpointDisabled():
                _disabled(rows, event, data)
            case events.WebhookTestRequested():
                _test(rows, seq, event, data)
            case events.WebhookResendRequested():
                _resend(rows, event, data)
            case events.WebhookReplayRequested():
                _replay(rows, event, data)
            case events.MessageForgotten():
                _forgotten(rows, event, data)
            case events.PrivacyFulfilled():
                _prune_all(rows, event)
            case _:
                raise TypeError(f"{event.type} is not projected")
    _prune(rows, event)


# -- what happened -------------------------------------------------------------------------------


def _requested(rows: Rows, event: Event, data: events.SendRequested) -> None:
    if rows.get(SUBSCRIPTION, event.workspace_id) is None:
        return  # most workspaces: nobody listens
    message = Message(
        id=data.message_id,
        workspace_id=event.workspace_id,
        to_number=data.to,
        client_ref=data.client_ref,
        campaign_id=data.campaign_id,
        parts=data.parts,
        keep_until=data.expires_at + MESSAGE_KEPT,
    )
    rows.put(MESSAGE, message)
    _made(rows)


def _happened(rows: Rows, seq: int, event: Event) -> None:
    subscription = rows.get(SUBSCRIPTION, event.workspace_id)
    if subscription is None:
        return
    listening = [id for id, types in subscription.types.items() if wants(types, event.type)]
    if not listening or rows.get(PAYLOAD, event.id) is not None:
        return  # nobody listens, or the event is in the log twice
    body = shapes.body(event, _about(rows, event))
    rows.put(PAYLOAD, Payload(event.id, event.workspace_id, body, event.at))
    contact_id: str | None = getattr(event.data, "contact_id", None)
    for endpoint_id in listening:
        ordered = contact_id is not None and endpoint_id in subscription.ordered
        order = ids.conversation_id(contact_id) if ordered and contact_id else None
        _open(rows, seq, event, endpoint_id, event.type, "event", order)


def _about(rows: Rows, event: Event) -> About:
    if isinstance(event.data, events.SmsFact):
        message = rows.get(MESSAGE, event.data.message_id)
        if message is not None:
            return About(
                to=message.to_number,
                client_ref=message.client_ref,
                campaign_id=message.campaign_id,
                parts=message.parts,
            )
    return About()


def _open(
    rows: Rows,
    seq: int,
    event: Event,
    endpoint_id: str,
    event_type: str,
    trigger: str,
    order: str | None,
) -> None:
    """A new delivery of ``event``; one too many for the endpoint is exhausted from the start."""
    full = not _backlog(rows, event.workspace_id, endpoint_id, +1)
    due = FIRST if trigger == "test" else event.at
    delivery = Delivery(
        id=ids.derive("dlv", endpoint_id, event.id),
        workspace_id=event.workspace_id,
        endpoint_id=endpoint_id,
        event_id=event.id,
        event_type=event_type,
        seq=seq,
        at=event.at,
        ordered_by=order,
        state="exhausted" if full else "open",
        trigger=trigger,
        opened_by=event.id,
        attempt=0,
        next_at=None if full else due,
        status=None,
        error="backlog_full" if full else None,
    )
    rows.put(DELIVERY, delivery)
    _made(rows)
    rows.hint(endpoint_id)


def _backlog(rows: Rows, workspace_id: str, endpoint_id: str, by: int) -> bool:
    """Count an endpoint's open deliveries; False, and nothing counted, when there is no room."""
    subscription = rows.edit(SUBSCRIPTION, workspace_id)
    if subscription is None:
        return False
    count = subscription.backlog.get(endpoint_id, 0) + by
    if count > BACKLOG_MAX:
        return False
    subscription.backlog[endpoint_id] = max(0, count)
    return True


# -- attempts ------------------------------------------------------------------------------------


def _attempted(rows: Rows, event: Event, data: events.WebhookAttempted) -> None:
    if data.trigger == "event" or data.outcome == "delivered":
        _note_health(rows, event, data)
    attempt = Attempt(data.attempt_id, event.workspace_id, data.delivery_id, event.at)
    rows.put(ATTEMPT, attempt)
    _made(rows)
    rows.hint(data.endpoint_id)
    delivery = rows.get(DELIVERY, data.delivery_id)
    if delivery is None or delivery.opened_by != event.cause or data.attempt <= delivery.attempt:
        return  # it was pruned, or opened anew meanwhile, or the attempt is in the log twice
    rows.edit(DELIVERY, data.delivery_id)
    was_open = delivery.state == "open"
    delivery.attempt, delivery.status, delivery.error = data.attempt, data.status, data.error
    if data.outcome == "failed":
        if was_open:
            delivery.next_at = data.next_at
        return
    delivery.state, delivery.next_at = data.outcome, None
    if was_open:
        _backlog(rows, event.workspace_id, data.endpoint_id, -1)


def _note_health(rows: Rows, event: Event, data: events.WebhookAttempted) -> None:
    """Start the endpoint's clock at its first failure; any success clears it."""
    endpoint = rows.get(ENDPOINT, data.endpoint_id)
    if endpoint is None:
        return
    delivered = data.outcome == "delivered"
    if delivered is (endpoint.failing_since is None):
        return
    rows.edit(ENDPOINT, data.endpoint_id)
    endpoint.failing_since = None if delivered else event.at


# -- endpoints -----------------------------------------------------------------------------------


def _saved(rows: Rows, seq: int, event: Event, data: events.WebhookEndpointSaved) -> None:
    before = rows.get(ENDPOINT, data.endpoint_id)
    subscription = rows.edit(SUBSCRIPTION, event.workspace_id) or rows.put(
        SUBSCRIPTION, Subscription(event.workspace_id, seq, {}, [], {})
    )
    subscription.saved_seq = seq
    if before is not None and before.removed:
        return
    anew = before is None or before.url != data.url or before.enabled != data.enabled
    endpoint = Endpoint(
        id=data.endpoint_id,
        workspace_id=event.workspace_id,
        url=data.url,
        types=list(data.types),
        enabled=data.enabled,
        ordered=data.ordered,
        description=data.description,
        removed=False,
        disabled_reason=None if data.enabled else _reason(before),
        failing_since=None if anew or before is None else before.failing_since,
        created_at=event.at if before is None else before.created_at,
        updated_at=event.at,
    )
    rows.put(ENDPOINT, endpoint)
    if data.enabled:
        subscription.types[endpoint.id] = endpoint.types
        others = [id for id in subscription.ordered if id != endpoint.id]
        subscription.ordered = [*others, endpoint.id] if endpoint.ordered else others
        rows.hint(endpoint.id)
    else:
        _switch_off(rows, endpoint)


def _reason(before: Endpoint | None) -> str:
    """Why a saved endpoint is off: still what switched it off, or the person who saved it."""
    return (before.disabled_reason if before is not None else None) or "user"


def _removed(rows: Rows, endpoint_id: str) -> None:
    endpoint = rows.edit(ENDPOINT, endpoint_id)
    if endpoint is not None:
        endpoint.removed, endpoint.enabled, endpoint.disabled_reason = True, False, None
        endpoint.url = endpoint.description = ""
        _switch_off(rows, endpoint)


def _disabled(rows: Rows, event: Event, data: events.WebhookEndpointDisabled) -> None:
    endpoint = rows.edit(ENDPOINT, data.endpoint_id)
    if endpoint is not None and endpoint.enabled:
        endpoint.enabled, endpoint.disabled_reason = False, data.reason
        endpoint.updated_at = event.at
        _switch_off(rows, endpoint)


def _switch_off(rows: Rows, endpoint: Endpoint) -> None:
    """Nothing new for this endpoint, and what it has open ends here."""
    subscription = rows.edit(SUBSCRIPTION, endpoint.workspace_id)
    if subscription is not None:
        subscription.types.pop(endpoint.id, None)
        subscription.backlog.pop(endpoint.id, None)
        subscription.ordered = [id for id in subscription.ordered if id != endpoint.id]
    rows.then(sql.close_open, endpoint.id)


# -- wishes --------------------------------------------------------------------------------------


def _test(rows: Rows, seq: int, event: Event, data: events.WebhookTestRequested) -> None:
    """An endpoint that is off can be tested too: that is when somebody wants to know."""
    endpoint = rows.get(ENDPOINT, data.endpoint_id)
    known = data.event_type in shapes.TOLD
    if endpoint is None or endpoint.removed or not known or rows.get(PAYLOAD, event.id) is not None:
        return
    body = shapes.example_body(event, data.event_type)
    rows.put(PAYLOAD, Payload(event.id, event.workspace_id, body, event.at))
    _open(rows, seq, event, endpoint.id, data.event_type, "test", None)


def _resend(rows: Rows, event: Event, data: events.WebhookResendRequested) -> None:
    delivery = rows.get(DELIVERY, data.delivery_id)
    endpoint = rows.get(ENDPOINT, data.endpoint_id)
    if delivery is None or endpoint is None or not endpoint.enabled:
        return  # pruned, or switched off since it was asked for
    if delivery.state != "open" and not _backlog(rows, event.workspace_id, endpoint.id, +1):
        return
    rows.edit(DELIVERY, data.delivery_id)
    delivery.state, delivery.trigger, delivery.opened_by = "open", "resend", event.id
    delivery.attempt, delivery.next_at, delivery.status, delivery.error = 0, FIRST, None, None
    rows.hint(endpoint.id)


def _replay(rows: Rows, event: Event, data: events.WebhookReplayRequested) -> None:
    endpoint = rows.get(ENDPOINT, data.endpoint_id)
    if endpoint is None or not endpoint.enabled:
        return
    rows.then(
        sql.reopen,
        event.id,
        event.at,
        endpoint.id,
        data.since,
        list(data.types) or None,
        data.only_failed,
        REPLAY_MAX,
        event.workspace_id,
    )
    rows.hint(endpoint.id)


# -- erasure -------------------------------------------------------------------------------------


def _forgotten(rows: Rows, event: Event, data: events.MessageForgotten) -> None:
    """Nothing is sent any more of what happened with these messages, nor kept for a replay."""
    for message_id, _ in data.messages:
        rows.remove(MESSAGE, message_id)
    if data.events and rows.get(SUBSCRIPTION, event.workspace_id) is not None:
        rows.then(sql.forget, list(data.events), event.workspace_id)


def _prune_all(rows: Rows, event: Event) -> None:
    """Remove all that is old, and count anew.

    A log with holes makes fewer rows, so a rebuild would prune at other moments: from here on it
    does so at the same ones again.
    """
    rows.put(PRUNED, Pruned(ALL, event.at, 0))
    rows.then(sql.prune, event.at - KEPT, PRUNE_ALL, event.at)


# -- time ----------------------------------------------------------------------------------------


def _prune(rows: Rows, event: Event) -> None:
    """Remove old rows now and then, by what the log says, so that a rebuild removes the same."""
    last = rows.get(PRUNED, ALL)
    if last is None:
        rows.put(PRUNED, Pruned(ALL, event.at, 0))
        return
    due = last.made >= PRUNE_AFTER or event.at - last.at >= PRUNE_EVERY
    if due and rows.barrier is None:
        rows.edit(PRUNED, ALL)
        last.at, last.made = event.at, 0
        rows.then(sql.prune, event.at - KEPT, PRUNE_MAX, event.at)


def _made(rows: Rows) -> None:
    """Count a row that will have to be removed one day."""
    pruned = rows.edit(PRUNED, ALL)
    if pruned is not None:
        pruned.made += 1


GATHERS = ("send.requested.", "sms.", "webhook.attempted.")
PROJECTION = Projection("webhooks", FILTERS, TABLES, apply, gathers=GATHERS)
