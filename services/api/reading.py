"""What sending must know, read once for all requests of a workspace that wait at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.api.decide import Handset, Recipient
from services.api.gather import Gather
from shared.sql import Database

# Under load. What is read together is also put into the log together, as one batch with one sync,
# whose fixed cost is that of two hundred texts.
LINGER_S = 0.002


@dataclass(frozen=True, slots=True)
class Need:
    """Contacts, phones and messages that a request names."""

    contacts: Sequence[str]
    phones: Sequence[str] = ()
    messages: Sequence[str] = ()


@dataclass(slots=True)
class Facts:
    """Those of them that exist. A contact of generation 0 is found as who has the number now."""

    contacts: dict[str, Recipient] = field(default_factory=dict)
    phones: dict[str, Handset] = field(default_factory=dict)
    messages: dict[str, Any] = field(default_factory=dict)


class Reader:
    """Answers needs in rounds."""

    def __init__(self, db: Database, sql: Any) -> None:
        self._db, self._sql = db, sql
        self._line: Gather[Need, Facts] = Gather(self._serve, LINGER_S)

    async def facts(self, workspace_id: str, need: Need) -> Facts:
        """What is known about everything ``need`` names, and maybe about more."""
        return await self._line.ask(workspace_id, need)

    async def _serve(self, workspace_id: str, needs: Sequence[Need]) -> Sequence[Facts]:
        facts = Facts()
        contacts = list({one for need in needs for one in need.contacts})
        phones = list({one for need in needs for one in need.phones})
        messages = list({one for need in needs for one in need.messages})
        for row in await self._db.tenant_fetch(self._sql.recipients, workspace_id, contacts):
            asked, id, number, kind, opted_out, timezone = row
            # Without a number it is nobody yet: the person who had it was erased.
            known = Recipient(id, number or "", kind or "number", opted_out, timezone)
            facts.contacts[asked] = known
        if phones or messages:
            async with self._db.tenant(workspace_id) as db:
                for row in await db.fetch(self._sql.handsets, phones) if phones else ():
                    facts.phones[row["id"]] = Handset(*row)
                for row in await db.fetch(self._sql.messages_by_id, messages) if messages else ():
                    facts.messages[row["id"]] = row
        return [facts] * len(needs)
