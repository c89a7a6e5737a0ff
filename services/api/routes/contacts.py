"""Contacts: list and find, save, change, tag, opt out and in."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

from services.api import decide, finding, search
from services.api.api import Decision
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, begin, finish, page, sieved
from services.api.shapes import contacts as shapes
from services.api.shapes.fields import Paged
from services.api.validation import FieldError
from shared import events as e
from shared import ids
from shared.log import Guard
from shared.problems import Problem

PATH = "/v1/contacts/{contact_id}"
IDS = {"contact_id": "con"}
TAGGED_MAX = 1_000  # contacts of a tag are counted up to here: so many steps along an index
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # tags have no time
EDITABLE = ("first_name", "last_name", "email", "company", "tags", "custom_fields", "timezone")


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every timezone there is; read from the disk once."""
    return frozenset(available_timezones())


async def list_contacts(call: Call) -> Reply:
    """GET /v1/contacts: by words and numbers, tag or consent, each by its index."""
    q: shapes.ContactQuery = call.query
    sql, show = call.api.sql, shapes.contact
    tag = search.tag_word(q.tag) if q.tag is not None else None
    if q.q is not None:
        found = await finding.contacts(call, q.q, tag)
        if not found.broad:
            return await page(call, sql.contacts_found, (*found.few, q.opted_out, tag), show)
        end = sql.contacts_opted_out_end if q.opted_out else sql.contacts_end
        args = (*found.many, tag, q.opted_out)
        return await sieved(call, sql.contacts_sieved, args, show, (end, ()), closely=True)
    if tag is not None:
        args = (tag, q.opted_out)
        return await sieved(
            call, sql.contacts_tagged, args, show, (sql.contacts_tagged_end, (tag,))
        )
    if q.opted_out:
        return await page(call, sql.contacts_opted_out, (), show)
    if q.opted_out is not None:
        return await sieved(call, sql.contacts_not_opted_out, (), show, (sql.contacts_end, ()))
    return await page(call, sql.contacts, (), show)


async def list_tags(call: Call) -> Reply:
    """GET /v1/contacts/tags: by name, with a page's last tag as its cursor."""
    cursors, position = begin(call)
    after = position.id if call.query.cursor else search.TAG_SIGN
    rows = await call.api.rows(call, call.api.sql.tags, after, call.query.limit + 1, TAGGED_MAX)
    shown = [shapes.TagCount(row["word"][len(search.TAG_SIGN) :], row["contacts"]) for row in rows]
    return finish(
        call,
        cursors,
        [{"at": BEGINNING, "id": r["word"]} for r in rows],
        shown[: call.query.limit],
        by=("at", "id"),
    )


async def list_fields(call: Call) -> Reply:
    """GET /v1/contacts/fields."""
    rows = await call.api.rows(call, call.api.sql.contact_fields)
    return Reply(shapes.FieldNames([row["name"] for row in rows]))


async def create(call: Call) -> Reply:
    """POST /v1/contacts: somebody who only exists by messages so far is given a name."""
    body: shapes.ContactRequest = call.body
    workspace = await call.api.workspace(call.workspace_id)
    number = decide.number(body.phone, workspace["region"], "#/phone")
    errors = [number] if isinstance(number, dict) else []
    errors += decide.contact_errors(body.tags, body.custom_fields, body.timezone, zone_names())
    if isinstance(number, dict) or errors:
        raise decide.problem(errors)
    contact_id, generation = await whose(call, number)

    async def save() -> Decision:
        rows = await call.api.rows(call, call.api.sql.contact, contact_id)
        if rows and rows[0]["saved"]:
            raise Problem(
                409,
                "contact_exists",
                "There is a contact with this number already.",
                contact_id=contact_id,
            )
        await call.api.billing.allow(call, "contacts")
        data = e.ContactSaved(
            contact_id=contact_id,
            number=number,
            generation=generation,
            first_name=body.first_name,
            last_name=body.last_name,
            email=body.email,
            company=body.company,
            tags=tuple(dict.fromkeys(body.tags)),
            custom_fields=body.custom_fields,
            timezone=body.timezone,
        )
        return Decision(data, _guard(call, contact_id, rows[0]["seq"] if rows else 0))

    await call.api.decide(save, call)
    row = await call.api.row(call, call.api.sql.contact, contact_id)
    return Reply(shapes.contact(row), headers={"Location": f"/v1/contacts/{contact_id}"})


async def whose(call: Call, number: str) -> tuple[str, int]:
    """Whose a number is, whether or not there is such a contact yet: (contact id, generation)."""
    root_id = ids.contact_id(call.api.identity_key, call.workspace_id, number, 0)
    rows = await call.api.rows(call, call.api.sql.renewed, [root_id])
    return (rows[0]["contact_id"], rows[0]["generation"]) if rows else (root_id, 0)


async def get(call: Call) -> Reply:
    """GET /v1/contacts/{id}."""
    return Reply(shapes.contact(await _row(call)))


async def change(call: Call) -> Reply:
    """PATCH /v1/contacts/{id}."""
    body: shapes.ContactPatch = call.body
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    errors = decide.zone_errors(changes.get("timezone"), zone_names())
    return await _save(call, errors, lambda _: changes)


async def tag(call: Call) -> Reply:
    """POST /v1/contacts/{id}/tags."""
    body: shapes.TagsRequest = call.body
    gone = set(body.remove)

    def changes(row: Any) -> dict[str, Any]:
        kept = [one for one in row["tags"] or [] if one not in gone]
        return {"tags": list(dict.fromkeys([*kept, *body.add]))}

    return await _save(call, [], changes)


async def _save(call: Call, errors: list[FieldError], changes: Any) -> Reply:
    if errors:
        raise decide.problem(errors)

    async def save() -> Decision | None:
        row = await _row(call)
        current = {name: row[name] for name in EDITABLE}
        current["tags"] = current["tags"] or []
        current["custom_fields"] = current["custom_fields"] or {}
        wanted = decide.merged(current, changes(row))
        wanted["tags"] = list(dict.fromkeys(wanted["tags"]))
        if wanted == current and row["saved"]:
            return None
        wrong = decide.contact_errors(wanted["tags"], wanted["custom_fields"], None, ())
        if wrong:
            raise decide.problem(wrong)
        if not row["saved"]:
            await call.api.billing.allow(call, "contacts")
        data = e.ContactSaved(
            contact_id=row["id"],
            number=row["number"],
            kind=row["kind"],
            generation=row["generation"],
            **{**wanted, "tags": tuple(wanted["tags"])},
        )
        return Decision(data, _guard(call, row["id"], row["seq"]))

    await call.api.decide(save, call)
    return await get(call)


async def opt_out(call: Call) -> Reply:
    """POST /v1/contacts/{id}/opt-out."""
    return await _consent(call, e.ContactOptedOut, opted_out=True)


async def opt_in(call: Call) -> Reply:
    """POST /v1/contacts/{id}/opt-in."""
    return await _consent(call, e.ContactOptedIn, opted_out=False)


async def _consent(
    call: Call, kind: type[e.ContactOptedOut | e.ContactOptedIn], *, opted_out: bool
) -> Reply:
    body: shapes.ConsentRequest | None = call.body

    async def consent() -> Decision | None:
        row = await _row(call)
        if row["opted_out"] == opted_out and (opted_out or row["consent"]):
            return None
        data = kind(
            contact_id=row["id"],
            number=row["number"],
            source="api",
            text=body.note if body else None,
        )
        return Decision(data, _guard(call, row["id"], row["seq"]))

    await call.api.decide(consent, call)
    return await get(call)


async def _row(call: Call) -> Any:
    return await call.api.row(call, call.api.sql.contact, call.path["contact_id"])


def _guard(call: Call, contact_id: str, seq: int) -> Guard:
    return Guard(f"contact.*.{call.workspace_id}.{contact_id}", seq)


OPERATIONS = (
    Operation(
        name="contacts.list",
        method="GET",
        path="/v1/contacts",
        tag="Contacts",
        scope="contacts:read",
        handle=list_contacts,
        status=200,
        response=Page[shapes.Contact],
        query=shapes.ContactQuery,
        paged=True,
        summary="List and find contacts",
        description=(
            "Everybody who was written to, wrote, or was saved; newest first. All filters can be "
            "combined. A page may hold fewer than `limit` contacts and still have more behind it."
        ),
    ),
    Operation(
        name="contacts.tags",
        method="GET",
        path="/v1/contacts/tags",
        tag="Contacts",
        scope="contacts:read",
        handle=list_tags,
        status=200,
        response=Page[shapes.TagCount],
        query=Paged,
        paged=True,
        summary="List tags",
        description="The tags contacts have, by name.",
    ),
    Operation(
        name="contacts.fields",
        method="GET",
        path="/v1/contacts/fields",
        tag="Contacts",
        scope="contacts:read",
        handle=list_fields,
        status=200,
        response=shapes.FieldNames,
        summary="List custom fields",
        description="The names of custom fields that contacts have or had, at most 1,000.",
    ),
    Operation(
        name="contacts.create",
        method="POST",
        path="/v1/contacts",
        tag="Contacts",
        scope="contacts:write",
        handle=create,
        status=201,
        response=shapes.Contact,
        request=shapes.ContactRequest,
        problems=(
            "invalid_number",
            "unknown_timezone",
            "contact_exists",
            "plan_limit_reached",
            "changed_meanwhile",
        ),
        located=True,
        summary="Save a contact",
        description="A contact is its number: a workspace has one contact per number.",
    ),
    Operation(
        name="contacts.get",
        method="GET",
        path=PATH,
        ids=IDS,
        tag="Contacts",
        scope="contacts:read",
        handle=get,
        status=200,
        response=shapes.Contact,
        summary="Look at a contact",
        description="With what it said about being texted, and the evidence.",
    ),
    Operation(
        name="contacts.change",
        method="PATCH",
        path=PATH,
        ids=IDS,
        tag="Contacts",
        scope="contacts:write",
        handle=change,
        status=200,
        response=shapes.Contact,
        request=shapes.ContactPatch,
        problems=("unknown_timezone", "plan_limit_reached", "changed_meanwhile"),
        summary="Change a contact",
        description="Names only what changes; `tags` and `custom_fields` are replaced as a whole.",
    ),
    Operation(
        name="contacts.tag",
        method="POST",
        path=PATH + "/tags",
        ids=IDS,
        tag="Contacts",
        scope="contacts:write",
        handle=tag,
        status=200,
        response=shapes.Contact,
        request=shapes.TagsRequest,
        problems=("too_long", "plan_limit_reached", "changed_meanwhile"),
        summary="Tag a contact",
        description="Adds and takes away tags, whatever other tags it has.",
    ),
    Operation(
        name="contacts.opt_out",
        method="POST",
        path=PATH + "/opt-out",
        ids=IDS,
        tag="Contacts",
        scope="contacts:write",
        handle=opt_out,
        status=200,
        response=shapes.Contact,
        request=shapes.ConsentRequest,
        body_required=False,
        problems=("changed_meanwhile",),
        summary="Opt a contact out",
        description="From then on nothing is sent to the number, from any source, on any phone.",
    ),
    Operation(
        name="contacts.opt_in",
        method="POST",
        path=PATH + "/opt-in",
        ids=IDS,
        tag="Contacts",
        scope="contacts:write",
        handle=opt_in,
        status=200,
        response=shapes.Contact,
        request=shapes.ConsentRequest,
        body_required=False,
        problems=("changed_meanwhile",),
        summary="Opt a contact in",
        description="Only with the person's own word; the note is kept as evidence.",
    ),
)
