"""The API is killed, again and again, in the middle of an import: everybody is saved once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROWS = 6_000
KILLS = 3
WRONG_EVERY = 500


async def test_an_import_survives_kill_9_in_the_middle(tmp_path: Path) -> None:
    async with Stack(tmp_path, services=("api",)) as stack:
        workspace = await stack.new_workspace()
        lines = [
            f"{'nobody' if n % WRONG_EVERY == 0 else f'+1212555{n:04}'},Ada,Person{n}"
            for n in range(1, ROWS + 1)
        ]
        body = "\n".join(["phone,first name,last name", *lines])
        headers = {"Authorization": f"Bearer {workspace.key}"}
        kind = {"Content-Type": "text/csv"}
        async with aiohttp.ClientSession(stack.url("api"), headers=headers) as session:
            async with session.post("/v1/contacts/bulk", data=body, headers=kind) as response:
                assert response.status == 202, await response.text()
                path = response.headers["Location"]

            async def look() -> Any:
                try:
                    async with session.get(path) as response:
                        return await response.json() if response.status == 200 else None
                except aiohttp.ClientError:
                    return None

            killed_at = 0
            for _ in range(KILLS):

                async def got_on(since: int = killed_at) -> Any:
                    task = await look()
                    return task if task and (task["done"] > since or task["finished_at"]) else None

                task = await stack.until("the import gets on", got_on, 60.0)
                if task["finished_at"]:
                    break
                killed_at = task["done"]
                stack.programs["api.1"].kill()  # started again by its supervisor
            assert killed_at, "the import ended before it could be broken"

            async def ended() -> Any:
                task = await look()
                return task if task and task["finished_at"] else None

            task = await stack.until("the import has ended", ended, 120.0)
            failed = ROWS // WRONG_EVERY
            assert (task["status"], task["done"]) == ("done", ROWS)
            summary = task["summary"]
            assert (summary["created"], summary["failed"]) == (ROWS - failed, failed)
            assert (summary["updated"], summary["unchanged"]) == (0, 0)
            async with session.get(task["result_url"]) as response:
                assert (await response.text()).count("nobody") == failed
        log = await stack.whole_log()
        saved = [event.data.number for _, event in log if event.type == "contact.saved"]
        assert len(saved) == len(set(saved)) == ROWS - failed
