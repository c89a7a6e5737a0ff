"""The whole of 8ms for a test: real servers, real service processes, simulated phones.

    async with Stack(tmp_path) as stack:
        await stack.new_workspace()
        await stack.pair(40)
        message = await stack.send("+14155550100", "Hello")
        stack.kill("gateway.1")          # the supervisor starts it again
        await stack.until("it is delivered", check)

What runs and how it is broken: tests/machinery.py. Here is what tests do with it and see of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp

from clients.simphone import control
from shared import auth, events, ids
from shared.errors import LogUnavailable
from shared.events import Event
from tests.machinery import REQUEST_TIMEOUT_S, SERVICES, Machinery
from tests.programs import ROOT

__all__ = ["NO_ANSWER", "SERVICES", "Answer", "Stack", "Workspace"]

PAIRING_BATCH = 50
UNAVAILABLE = 503
COMMAND_TIMEOUT_S = 120.0
OPS = events.Actor("system", "tests")
UNLIMITED = {"min_gap_s": 0, "daily_cap": 1_000_000, "warmup": False}
NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError, LogUnavailable)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace and a key to it."""

    id: str
    key: str


class Stack(Machinery):
    """The machinery, a workspace, its phones, and the log as it grows (``seen``)."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        self.workspace = Workspace("", "")
        self.phones: list[str] = []
        self.phones_are_elsewhere = False  # a test hosts them itself, in ``simphone_dir``
        self.seen: list[tuple[int, Event]] = []
        self.count: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._run(self._exit, self._follow())
        return self

    async def _follow(self) -> None:
        async with contextlib.aclosing(self.log.read([">"], 0)) as batches:
            async for batch in batches:
                for record in batch.records:
                    event = events.decode(record.data)
                    self.seen.append((record.seq, event))
                    self.count[event.type] += 1

    # -- looking ---------------------------------------------------------------------------------

    def events(self, *types: str) -> list[Event]:
        """What the log holds so far (of these types)."""
        return [event for _, event in self.seen if not types or event.type in types]

    async def whole_log(self) -> list[tuple[int, Event]]:
        """The log with its sequences, read afresh from its beginning."""
        records = await self.log.history([">"])
        return [(record.seq, events.decode(record.data)) for record in records]

    def phones_db(self, statement: str) -> list[tuple[Any, ...]]:
        """A query on what the phones keep: tables radio, command, inbox, journal, phone."""
        path = self.simphone_dir / "phones.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(statement).fetchall()

    def online(self) -> set[str]:
        """The phones whose newest state in the log is online."""
        states = {
            event.data.phone_id: event.type
            for event in self.events("phone.online", "phone.late", "phone.offline")
        }
        return {phone for phone, state in states.items() if state == "phone.online"}

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """``eightms …`` against this stack: exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath), **self.environment("ops")},
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            out, errors = await process.communicate()
        return process.returncode or 0, out.decode(), errors.decode()

    async def verify(self) -> None:
        """``eightms verify`` of every service that runs. AssertionError where a table differs."""
        code, out, errors = await self.command("verify", *self.services)
        assert code == 0, f"{out}\n{errors}\n{self.report()}"

    def report(self) -> str:
        """What the log counts and what each part last said."""
        return f"log: {dict(self.count)}\n{super().report()}"

    # -- setting up ------------------------------------------------------------------------------

    async def append(self, *many: events.Data) -> None:
        """Put events into the log as operations would."""
        now = datetime.now(UTC)
        workspace_id = self.workspace.id
        made = [
            events.make(data, id=ids.new("evt"), workspace_id=workspace_id, at=now, actor=OPS)
            for data in many
        ]
        await self.log.append_many(made)

    async def new_workspace(self, **profile: Any) -> Workspace:
        """A workspace without quiet hours and a key that may do everything, as the CLI makes it."""
        key = auth.new_api_key("live")
        self.workspace = Workspace(ids.new("ws"), key.text)
        fields = {"name": "Acme", "timezone": "UTC", "quiet_hours": None, **profile}
        await self.append(
            events.WorkspaceCreated(
                workspace_id=self.workspace.id, email="o@example.com", **fields
            ),
            events.ApiKeyCreated(
                key_id=ids.new("key"),
                name="tests",
                mode="live",
                hash=key.hash,
                last_four=key.last_four,
                scopes=("*",),
            ),
        )

        async def known() -> bool:
            return (await self.api("GET", "/v1/messages")).status == 200

        if "api" in self.services:
            await self.until("the key is known", known)
        return self.workspace

    async def pair(self, count: int, **limits: Any) -> list[str]:
        """Pair ``count`` simulated phones, without any limit unless ``limits`` sets one."""
        if not self.phones_are_elsewhere:
            self.programs["simphone"].start()
        socket = control.socket_of(self.simphone_dir)
        await self.until("the simulated phones answer", socket.exists)
        made: list[str] = []
        while len(made) < count:
            made += await self._pair_some(min(PAIRING_BATCH, count - len(made)))
        wanted = {**UNLIMITED, **limits}
        await self.append(
            *(
                events.PhoneConfigured(phone_id=phone, label=f"Phone {n}", **wanted)
                for n, phone in enumerate(made)
            )
        )
        await self.until("every phone is online", lambda: self.online() >= set(made))
        self.phones += made
        return made

    async def _pair_some(self, count: int) -> list[str]:
        question = {
            "workspace_id": self.workspace.id,
            "label": "Phone",
            "actor": {"kind": "user", "id": "usr_tests"},
        }
        asked = [self.bus.ask("gateway", "open_pairing", question) for _ in range(count)]
        uris = [opened["uri"] for opened in await asyncio.gather(*asked)]
        answer = await control.pair(self.simphone_dir, uris)
        assert not answer["errors"], (answer["errors"], self.report())
        return [phone["phone_id"] for phone in answer["phones"]]

    async def endpoint(self, path: str, types: Sequence[str], **fields: Any) -> str:
        """Make a webhook endpoint at the receiver's ``path``; its id."""
        wanted = {"url": self.receiver.url(path), "types": list(types), **fields}

        async def made() -> Answer | None:  # an instance that just came up may ask to come back
            answer = await self.api("POST", "/v1/webhooks", wanted, idempotency_key=path)
            return None if answer.status == UNAVAILABLE else answer

        answer = await self.until("webhooks answers", made)
        assert answer.status == 201, (answer.status, answer.body, self.report())
        self.receiver.secrets[path] = answer.body["secret"]
        return answer.body["id"]

    # -- doing -----------------------------------------------------------------------------------

    async def receive(self, phone_id: str, sender: str, body: str) -> None:
        """A text arrives at a phone."""
        await control.receive(self.simphone_dir, phone_id, sender, body)

    async def airplane(self, phone_id: str, *, online: bool) -> None:
        """Switch a phone's network."""
        path = f"/phones/{phone_id}/online"
        await control.call(self.simphone_dir, "POST", path, {"online": online})

    async def api(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = "",
        part: str = "",
        idempotency_key: str = "",
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Answer:
        """One request, to ``part`` if named. One of NO_ANSWER where there is none."""
        headers = {"Authorization": f"Bearer {key or self.workspace.key}"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        base = f"http://127.0.0.1:{self.ports[part]}" if part else self.url("api")
        async with self.http.request(
            method,
            base + path,
            json=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            document = json.loads(raw) if raw and is_json else raw.decode(errors="replace")
            return Answer(response.status, document, response.headers)

    async def send(self, to: str, body: str, **fields: Any) -> dict[str, Any]:
        """Send a text; the message. AssertionError unless it is accepted."""
        answer = await self.api("POST", "/v1/sms/send", {"to": to, "body": body, **fields})
        assert answer.status == 202, (answer.status, answer.body, self.report())
        return answer.body["message"]

    async def becomes(self, message_id: str, state: str) -> None:
        """Wait until the API shows the message in ``state``: its rows follow the log."""

        async def is_so() -> bool:
            return (await self.message(message_id))["state"] == state

        await self.until(f"{message_id} is {state}", is_so)

    async def message(self, message_id: str) -> dict[str, Any]:
        """A message as GET shows it. AssertionError unless it is there."""
        answer = await self.api("GET", f"/v1/messages/{message_id}")
        assert answer.status == 200, (answer.status, answer.body, self.report())
        return answer.body
