"""What the api answers when asked: about people, whom only its rows know by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api import audience
from services.api.decide import campaigns as decide
from services.api.decide import template as templates
from shared.bus import Handler
from shared.errors import NotReady
from shared.problems import Problem
from shared.service import Context
from shared.sql import queries

EDIT_S = 2.0  # how long an answer waits for an edit of the campaign that the asker knows of


def answers(context: Context) -> Mapping[str, Handler]:
    """The questions by name; each handler takes and gives JSON."""
    return {"recipients": _Recipients(context).recipients}


class _Recipients:
    def __init__(self, context: Context) -> None:
        self._c = context
        self._sql: Any = queries("services.api")

    async def recipients(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What some recipients of a campaign would get now, and by which clock they live.

        ``{workspace_id, campaign_id, seq, contact_ids}``; ``seq`` is the campaign's newest event
        the asker knows. Answers ``[{contact_id, to, timezone, body, parts}]``, or with ``skipped``
        (why nothing) instead of a body.
        """
        workspace_id, campaign_id = body["workspace_id"], body["campaign_id"]
        if not await self._c.projector.passed(body["seq"], EDIT_S):
            raise NotReady("the campaign's newest edit is not projected yet")
        async with self._c.db.tenant(workspace_id) as db:
            campaign: Any = await db.fetchrow(self._sql.campaign, campaign_id)
            workspace: Any = await db.fetchrow(self._sql.workspace)
        if campaign is None or workspace is None:
            raise Problem(404, "not_found", "There is no such campaign.")
        template = decide.parsed(campaign["template"])
        out: dict[str, dict[str, Any]] = {}
        people = audience.these(self._c.db, self._sql, workspace_id, body["contact_ids"])
        async for rows in people:
            for person in rows:
                out[person["id"]] = _answer(template, person, workspace["name"])
        gone = [one for one in body["contact_ids"] if one not in out]
        return [*out.values(), *({"contact_id": one, "skipped": "erased"} for one in gone)]


def _answer(template: templates.Template, person: Any, workspace: str) -> dict[str, Any]:
    found = decide.text_for(template, person, workspace)
    if found.skipped is not None:
        return {"contact_id": person["id"], "skipped": found.skipped}
    return {
        "contact_id": person["id"],
        "to": person["number"],
        "timezone": person["timezone"],
        "body": found.body,
        "parts": found.segments.parts,
    }
