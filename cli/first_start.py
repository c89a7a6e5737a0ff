"""What `eightms up` makes once and finds again: the secret key, a workspace, simulated phones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cli import phone, stack, workspace
from cli.accounts import NewWorkspace, new_workspace
from cli.errors import CommandError
from clients.simphone import control
from shared import events as e
from shared.bus import Bus
from shared.errors import LogUnavailable
from shared.log import STREAM, Log
from shared.vault import KeyRing

REGION = "US"


def secret_key(data: Path, environment_key: str | None) -> str:
    """EIGHTMS_SECRET_KEY if it is set; else the data folder's, made the first time."""
    if environment_key:
        return environment_key
    path = data / stack.KEY_FILE
    if not path.exists():
        if (data / stack.WORKSPACE_FILE).exists():
            raise CommandError(
                f"{path} is gone, and what it encrypted and the ids made from it with it.",
                "Put it back from your copy.",
            )
        stack.write_private(path, KeyRing.generate_key() + "\n")
    return path.read_text().strip()


async def first_workspace(data: Path, log: Log) -> NewWorkspace | None:
    """The workspace made at the first start; None where the log had others before."""
    path = data / stack.WORKSPACE_FILE
    known = stack.read_private(path)
    if not known:
        if await _last(log, f"{e.WorkspaceCreated.TYPE}.>"):
            return None
        new = new_workspace(
            email="owner@localhost",
            name="My workspace",
            timezone=workspace.machine_zone(),
            region=REGION,
        )
        known = {name: getattr(new, name) for name in NewWorkspace.__slots__}
        stack.write_private(path, known)
    first = NewWorkspace(**known)
    # Written down before it was appended: a start that was cut short in between is made up for.
    for event in first.events(datetime.now(UTC)):
        if not await _last(log, event.subject):
            await log.append(event)
    return first


async def _last(log: Log, subject: str) -> bool:
    """Whether the log holds an event under ``subject``."""
    try:
        await log.api(f"STREAM.MSG.GET.{STREAM}", {"last_by_subj": subject})
    except LogUnavailable as error:
        if "no message found" in str(error):
            return False
        raise
    return True


async def simulated_phones(bus: Bus, where: str, workspace_id: str, wanted: int) -> list[str]:
    """Pair as many as are missing; the ids of all that the host at ``where`` has."""
    there = [one["phone_id"] for one in await control.phones(where)]
    labels = [
        phone.LABEL if n == 1 else f"{phone.LABEL} {n}" for n in range(len(there) + 1, wanted + 1)
    ]
    if not labels:
        return there
    links = await phone.open_links(bus, workspace_id, labels)
    paired = await control.pair(where, links)
    for error in paired["errors"]:
        raise CommandError(f"A simulated phone could not be paired: {error['detail']}")
    return there + [one["phone_id"] for one in paired["phones"]]
