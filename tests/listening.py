"""A client of server-sent events that cuts the frames itself, and shows comments too."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Frame:
    """One frame as it came: a comment alone has neither event nor data."""

    id: str
    event: str
    data: Any
    comment: str


class Listener:
    """An open stream. ``next()`` is the next event, ``frame()`` the next frame of any kind."""

    def __init__(self, http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
        self._http, self._url, self._headers = http, url, headers
        self._rest = b""
        self.last_id = ""

    async def __aenter__(self) -> Self:
        self.response = await self._http.get(
            self._url, headers=self._headers, timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.response.close()

    async def frame(self) -> Frame | None:
        """The next frame; None when the stream has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while b"\n\n" not in self._rest:
                piece = await self.response.content.readany()
                if not piece:
                    return None
                self._rest += piece
        raw, _, self._rest = self._rest.partition(b"\n\n")
        found = {"id": "", "event": "", "data": "", "": ""}
        for line in raw.decode().split("\n"):
            name, _, value = line.partition(":")
            found[name] = value.strip()
        self.last_id = found["id"] or self.last_id
        data = json.loads(found["data"]) if found["data"] else None
        return Frame(found["id"], found["event"], data, found[""])

    async def next(self) -> Frame:
        """The next event."""
        while True:
            frame = await self.frame()
            assert frame is not None, "the stream has ended"
            if frame.event:
                return frame

    async def until(self, event: str) -> list[Frame]:
        """Every event up to one of this type."""
        found: list[Frame] = []
        while not found or found[-1].event != event:
            found.append(await self.next())
        return found
