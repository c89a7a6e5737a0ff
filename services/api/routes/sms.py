"""Sending: the path every text takes into the log (ARCHITECTURE.md, One SMS)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pydantic

from services.api import decide
from services.api.decide import FieldError, Recipient
from services.api.operation import Call, Operation, Reply
from services.api.reading import Facts, Need
from services.api.shapes import messages as shapes
from services.api.validation import field_errors, refusal
from shared import events as e
from shared import ids, text
from shared.problems import Problem

# How long an accepted send waits for our own rows, so that a GET right after finds it. It is in
# the log already: whoever asks within the next moments of a longer lag gets a 404 and asks again.
READ_BACK_S = 0.25
GENERATION = 0  # of a contact; grows when a person is erased
REUSED_AFTER_S = 24 * 3600  # an Idempotency-Key this old names a new request

Problems = list[FieldError]


async def send(call: Call) -> Reply:
    """POST /v1/sms/send."""
    wish: shapes.SendRequest = call.body
    api = call.api
    recipient = await _recipient(call, wish)
    message_id = _message_id(call, "")
    facts = await api.reader.facts(
        call.workspace_id, _need([wish], [recipient], [message_id] if call.key else [])
    )
    if call.query.dry_run:
        return await _dry_run(call, wish, recipient, facts)
    earlier = facts.messages.get(message_id)
    if earlier is not None:
        if (call.now - earlier["created_at"]).total_seconds() < REUSED_AFTER_S:
            return _already(call, wish, recipient, earlier)
        message_id = _message_id(call, earlier["created_at"].isoformat())
    data = _accept(call, wish, recipient, facts, message_id)
    if not isinstance(data, e.SendRequested):
        raise decide.problem(data)
    event = call.event(data)
    seq = await api.log.submit(event)
    await api.projector.passed(seq, READ_BACK_S)
    message = shapes.requested(event, data)
    return Reply(shapes.SendAnswer(message), headers={"Location": f"/v1/messages/{message.id}"})


async def send_bulk(call: Call) -> Reply:
    """POST /v1/sms/send/bulk."""
    wishes: Sequence[shapes.SendRequest | Problem] = call.body
    api = call.api
    workspace = await api.workspace(call.workspace_id)
    region: str = workspace["region"]
    recipients = [None if isinstance(w, Problem) else _addressed(call, w, region) for w in wishes]
    message_ids = [_message_id(call, f"\x1f{n}") for n in range(len(wishes))]
    facts = await api.reader.facts(
        call.workspace_id, _need(wishes, recipients, message_ids if call.key else [])
    )
    results: list[shapes.Accepted | shapes.Refused] = []
    appended: list[asyncio.Future[int]] = []
    for n, (wish, recipient) in enumerate(zip(wishes, recipients, strict=True)):
        if isinstance(wish, Problem) or recipient is None:
            results.append(_refused(call, wish if isinstance(wish, Problem) else _nobody()))
            continue
        earlier = facts.messages.get(message_ids[n])
        if earlier is not None:
            results.append(shapes.Accepted(shapes.message(earlier)))
            continue
        data = _accept(call, wish, recipient, facts, message_ids[n])
        if not isinstance(data, e.SendRequested):
            results.append(_refused(call, decide.problem(data)))
            continue
        event = call.event(data, str(n))
        appended.append(api.log.submit(event))
        results.append(shapes.Accepted(shapes.requested(event, data)))
    if appended:
        seqs = await asyncio.gather(*appended)
        await api.projector.passed(seqs[-1], READ_BACK_S)
    accepted = sum(isinstance(result, shapes.Accepted) for result in results)
    return Reply(shapes.BulkAnswer(results, accepted, len(results) - accepted))


# -- whom ----------------------------------------------------------------------------------------


async def _recipient(call: Call, wish: shapes.SendRequest) -> Recipient | FieldError | str:
    workspace = await call.api.workspace(call.workspace_id)
    return _addressed(call, wish, workspace["region"])


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
        return facts.contacts.get(recipient.id, recipient)
    found = facts.contacts.get(recipient)
    if found is None:
        return decide.field_error("#/contact_id", "contact_not_found", "There is no such contact.")
    return found


def _need(wishes: Sequence[Any], recipients: Sequence[Any], message_ids: Sequence[str]) -> Need:
    contacts = [
        r.id if isinstance(r, Recipient) else r
        for r in recipients
        if isinstance(r, (Recipient, str))
    ]
    phones = [w.phone_id for w in wishes if not isinstance(w, Problem) and w.phone_id is not None]
    return Need(contacts, phones, message_ids)


# -- what ----------------------------------------------------------------------------------------


def _message_id(call: Call, salt: str) -> str:
    """The message's id: derived from the Idempotency-Key, so that a retry is the same message."""
    if call.key is None:
        return ids.new("msg")
    return ids.message_id(call.api.identity_key, call.workspace_id, call.key + salt)


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
        sender=decide.Sender("api", call.caller.mode == "test"),
        now=call.now,
        suppression=suppression,
    )


def _already(call: Call, wish: shapes.SendRequest, recipient: Any, earlier: Any) -> Reply:
    """The message is in the log although nobody was answered: an earlier try got that far."""
    contact_id = recipient.id if isinstance(recipient, Recipient) else recipient
    if contact_id != earlier["contact_id"] or wish.body != earlier["body"]:
        raise Problem(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used with another request. Use a new key.",
        )
    message = shapes.message(earlier)
    return Reply(shapes.SendAnswer(message), headers={"Location": f"/v1/messages/{message.id}"})


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
    known = facts.contacts.get(data.contact_id)
    return Reply(
        shapes.DryRun(
            to=data.to,
            contact_id=data.contact_id,
            segments=data.parts,
            encoding=text.segments(data.body).encoding,
            suppressed=known is not None and known.opted_out,
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


def _nobody() -> Problem:
    return Problem.at("#/to", "missing", "to is required, or contact_id.")


OPERATIONS = (
    Operation(
        name="sms.send",
        method="POST",
        path="/v1/sms/send",
        tag="Messages",
        scope="messages:write",
        handle=send,
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
        location="The message.",
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
