"""Sending: the path every text takes into the log (ARCHITECTURE.md, One SMS)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
import pydantic

from services.api import decide
from services.api.decide import FieldError, Recipient
from services.api.idempotency import KEPT, reused
from services.api.operation import Call, Operation, Reply
from services.api.reading import Facts, Need
from services.api.shapes import messages as shapes
from services.api.validation import field_errors, refusal
from shared import events as e
from shared import ids, text
from shared.problems import Problem

GENERATION = 0  # who had a number first: facts say who has it now (schema, function recipients)
REUSED_AFTER = KEPT  # an Idempotency-Key that comes again after its time names a new request
ITEM = "\x1f"  # no key holds it: sets a bulk request's message ids apart from those of single ones

Problems = list[FieldError]


async def send(call: Call, *, again: bool = False) -> Reply:
    """POST /v1/sms/send. ``again``: the log knew the message's id, and now its row is looked at."""
    wish: shapes.SendRequest = call.body
    api = call.api
    workspace = await api.workspace(call.workspace_id)
    recipient = _addressed(call, wish, workspace["region"])
    message_ids = [_message_id(call, "")]
    facts = await _facts(call, [wish], [recipient], message_ids)
    if call.query.dry_run:
        return await _dry_run(call, wish, recipient, facts)
    made = _made(call, wish, recipient, facts, message_ids[0])
    if isinstance(made, Problem):
        raise made
    message, event = made
    new = event is None or await api.send(call.workspace_id, [event])
    if call.key and not new and not again:  # used before, and the record of it was lost
        await api.read_own(call.workspace_id)
        return await send(call, again=True)
    return Reply(shapes.SendAnswer(message), headers={"Location": f"/v1/messages/{message.id}"})


async def send_bulk(call: Call, *, again: bool = False) -> Reply:
    """POST /v1/sms/send/bulk. ``again`` as in ``send``."""
    wishes: Sequence[shapes.SendRequest | Problem] = call.body
    api = call.api
    workspace = await api.workspace(call.workspace_id)
    region: str = workspace["region"]
    good = {n: wish for n, wish in enumerate(wishes) if not isinstance(wish, Problem)}
    recipients = {n: _addressed(call, wish, region) for n, wish in good.items()}
    message_ids = {n: _message_id(call, f"{ITEM}{n}") for n in good}
    facts = await _facts(call, good.values(), recipients.values(), message_ids.values())
    results: list[shapes.Accepted | shapes.Refused] = []
    events: list[e.Event] = []
    for n, wish in enumerate(wishes):
        made = (
            wish
            if isinstance(wish, Problem)
            else _made(call, wish, recipients[n], facts, message_ids[n])
        )
        if isinstance(made, Problem):
            results.append(_refused(call, made))
            continue
        message, event = made
        if event is not None:
            events.append(event)
        results.append(shapes.Accepted(message))
    new = not events or await api.send(call.workspace_id, events)
    if call.key and not new and not again:
        await api.read_own(call.workspace_id)
        return await send_bulk(call, again=True)
    accepted = sum(isinstance(result, shapes.Accepted) for result in results)
    return Reply(shapes.BulkAnswer(results, accepted, len(results) - accepted))


# -- whom ----------------------------------------------------------------------------------------


def _addressed(call: Call, wish: shapes.SendRequest, region: str) -> Recipient | FieldError | str:
    """The recipient as the request names it: a contact's id, or a number and whose it is."""
    wrong = decide.addressed(wish.to, wish.contact_id)
    if wrong is not None:
        return wrong
    if wish.contact_id is not None:
        return wish.contact_id
    number = decide.number(wish.to or "", region)
    if isinstance(number, dict):
        return number
    contact_id = ids.contact_id(call.api.identity_key, call.workspace_id, number, GENERATION)
    return Recipient(contact_id, number)


def _known(recipient: Recipient | FieldError | str, facts: Facts) -> Recipient | FieldError:
    """The same with what is known about the contact."""
    if isinstance(recipient, dict):
        return recipient
    if isinstance(recipient, Recipient):
        known = facts.contacts.get(recipient.id, recipient)
        return known if known.number else dataclasses.replace(known, number=recipient.number)
    found = facts.contacts.get(recipient)
    if found is None or found.id != recipient:  # an erased id is nobody's, whoever has the number
        return decide.field_error("#/contact_id", "contact_not_found", "There is no such contact.")
    return found


async def _facts(
    call: Call,
    wishes: Collection[shapes.SendRequest],
    recipients: Collection[Recipient | FieldError | str],
    message_ids: Collection[str],
) -> Facts:
    """What is known about all of them; a contact may be one that a text of a moment ago made."""
    need = _need(call, wishes, recipients, message_ids)
    facts = await call.api.reader.facts(call.workspace_id, need)
    if all(one in facts.contacts for one in recipients if isinstance(one, str)):
        return facts
    await call.api.read_own(call.workspace_id)
    return await call.api.reader.facts(call.workspace_id, need)


def _need(
    call: Call, wishes: Iterable[Any], recipients: Iterable[Any], message_ids: Iterable[str]
) -> Need:
    contacts = [
        r.id if isinstance(r, Recipient) else r
        for r in recipients
        if isinstance(r, (Recipient, str))
    ]
    phones = [wish.phone_id for wish in wishes if wish.phone_id is not None]
    # Only a message whose id is derived can be there already.
    return Need(contacts, phones, [] if call.key is None else list(message_ids))


# -- what ----------------------------------------------------------------------------------------


def _message_id(call: Call, salt: str) -> str:
    """The message's id: derived from the Idempotency-Key, so that a retry is the same message."""
    if call.key is None:
        return ids.new("msg")
    return ids.message_id(call.api.identity_key, call.workspace_id, call.key + salt)


def _made(
    call: Call,
    wish: shapes.SendRequest,
    recipient: Recipient | FieldError | str,
    facts: Facts,
    message_id: str,
) -> tuple[shapes.Message, e.Event | None] | Problem:
    """The message a wish becomes and the event to append; without one it is in the log already."""
    earlier = facts.messages.get(message_id)
    if earlier is not None:
        if call.now - earlier["created_at"] < REUSED_AFTER:  # an earlier try got that far
            known = _known(recipient, facts)
            same = isinstance(known, Recipient) and known.id == earlier["contact_id"]
            if same and wish.body == earlier["body"]:
                return shapes.message(earlier), None
            return reused()
        message_id = _message_id(call, f"{ITEM}{call.claimed_at}{ITEM}{message_id}")
    data = _accept(call, wish, recipient, facts, message_id)
    if not isinstance(data, e.SendRequested):
        return decide.problem(data)
    # Named by the message alone: a database that lost its last moments in a crash forgets when the
    # key was first used, and the log must still know a repeat for one.
    event = call.event(data, id="evt" + message_id[3:])
    return shapes.requested(event, data), event


def _accept(
    call: Call,
    wish: shapes.SendRequest,
    recipient: Recipient | FieldError | str,
    facts: Facts,
    message_id: str,
    *,
    suppression: bool = True,
) -> e.SendRequested | Problems:
    phone = facts.phones.get(wish.phone_id) if wish.phone_id is not None else None
    return decide.accept(
        wish,
        message_id=message_id,
        recipient=_known(recipient, facts),
        phone=phone,
        sender=decide.Sender("inbox" if call.caller.role else "api", call.caller.mode == "test"),
        now=call.now,
        suppression=suppression,
    )


async def _dry_run(call: Call, wish: shapes.SendRequest, recipient: Any, facts: Facts) -> Reply:
    data = _accept(call, wish, recipient, facts, "msg_dry", suppression=False)
    if not isinstance(data, e.SendRequested):
        raise decide.problem(data)
    answer = await call.api.ask(
        call,
        "scheduler",
        "preview",
        {
            "contact_id": data.contact_id,
            "to": data.to,
            "phone_id": data.phone_id,
            "subscription_id": data.subscription_id,
            "send_at": data.send_at,
            "timezone": data.timezone,
            "source": data.source,
            "parts": data.parts,
            "test": data.test,
        },
    )
    rejected = answer["rejected"]
    known = _known(recipient, facts)
    return Reply(
        shapes.DryRun(
            to=data.to,
            contact_id=data.contact_id,
            segments=data.parts,
            encoding=text.segments(data.body).encoding,
            suppressed=isinstance(known, Recipient) and known.opted_out,
            phone_id=answer["phone_id"],
            earliest_at=answer["earliest_at"],
            waiting=msgspec.convert(answer["waiting"], shapes.Waiting | None),
            rejected=msgspec.convert(rejected, shapes.Failure | None),
        ),
        status=200,
    )


# -- what else is wrong ----------------------------------------------------------------------------


async def _further(call: Call, raw: Any, wrong: frozenset[str]) -> Problems:
    """Of a body that fails validation: what is also wrong by its meaning."""
    if not isinstance(raw, dict):
        return []
    workspace = await call.api.workspace(call.workspace_id)
    found: list[Any] = []
    to, contact_id, body = raw.get("to"), raw.get("contact_id"), raw.get("body")
    if "#/to" not in wrong and "#/contact_id" not in wrong:
        found.append(decide.addressed(to, contact_id))
    if "#/to" not in wrong and isinstance(to, str):
        found.append(decide.number(to, workspace["region"]))
    if "#/body" not in wrong and isinstance(body, str):
        found.append(decide.parts(body))
    return [entry for entry in found if isinstance(entry, dict)]


def _read_bulk(raw: bytes) -> list[shapes.SendRequest | Problem]:
    """The items of a bulk request, the malformed ones as what is wrong with them.

    pydantic.ValidationError when it is the request that is malformed and not an item.
    """
    try:
        return list(shapes.BulkRequest.model_validate_json(raw or b"null").messages)
    except pydantic.ValidationError as error:
        inside = all(e["loc"][:1] == ("messages",) and len(e["loc"]) > 1 for e in error.errors())
        if not inside:
            raise
    items: list[shapes.SendRequest | Problem] = []
    for item in msgspec.json.decode(raw, type=_Items).messages:
        try:
            items.append(shapes.SendRequest.model_validate_json(bytes(item)))
        except pydantic.ValidationError as error:
            items.append(refusal(field_errors(error)))
    return items


class _Items(msgspec.Struct):
    messages: list[msgspec.Raw]


def _refused(call: Call, problem: Problem) -> shapes.Refused:
    document = problem.document(call.api.public_url)
    return shapes.Refused(shapes.ProblemDocument(**{"errors": [], **document}))


OPERATIONS = (
    Operation(
        name="sms.send",
        method="POST",
        path="/v1/sms/send",
        tag="Messages",
        scope="messages:write",
        handle=send,
        reads_own=False,
        status=202,
        response=shapes.SendAnswer,
        also={200: shapes.DryRun},
        request=shapes.SendRequest,
        query=shapes.SendQuery,
        further=_further,
        problems=(
            "invalid_number",
            "recipient_opted_out",
            "too_many_parts",
            "phone_not_found",
            "phone_unpaired",
            "contact_not_found",
            "test_key_real_phone",
            "in_the_past",
            "too_far_ahead",
        ),
        located=True,
        summary="Send a text",
        description=(
            "Accepted means stored: the text goes out as soon as a phone may send it, and "
            "`GET /v1/messages/{id}` says how far it is and why it waits. With `dry_run=true` "
            "nothing is sent or stored; the answer says what would happen."
        ),
    ),
    Operation(
        name="sms.send_bulk",
        method="POST",
        path="/v1/sms/send/bulk",
        tag="Messages",
        scope="messages:write",
        handle=send_bulk,
        reads_own=False,
        status=202,
        response=shapes.BulkAnswer,
        request=shapes.BulkRequest,
        lenient=_read_bulk,
        summary="Send many texts",
        description=(
            "Up to 1,000 texts. Each is accepted or refused by itself, and `results` has one entry "
            "per text in the order of the request; pointers in a problem are relative to its text."
        ),
    ),
)
