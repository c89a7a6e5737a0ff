"""The host of simulated phones: a client of its control interface (clients/simphone/control.py)."""

from __future__ import annotations

from typing import Any

import aiohttp

from shared.problems import Problem, unavailable

TIMEOUT_S = 10.0


class Simulator:
    """Talks to the host at ``url``; a 503 Problem for everything when there is none."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    def check(self) -> None:
        """A 503 Problem when no host is configured."""
        if not self._url:
            raise Problem(
                503,
                "simulator_off",
                "This installation hosts no simulated phones (EIGHTMS_SIMULATOR_URL is not set).",
                headers={"Retry-After": "60"},
            )

    async def pair(self, uri: str) -> str:
        """Make a handset take a pairing link; the id of the phone it became."""
        answer = await self._call("POST", "/phones", {"uris": [uri]})
        if answer["errors"]:
            raise unavailable("The simulated phone could not be paired.")
        return answer["phones"][0]["phone_id"]

    async def receive(self, phone_id: str, sender: str, body: str, sim: int | None) -> str:
        """Make a handset receive a text; the handset's own id of it."""
        text = {"from": sender, "body": body, "subscription_id": sim}
        answer = await self._call("POST", f"/phones/{phone_id}/receive", text)
        return answer["provider_id"]

    async def texts(self, phone_id: str, limit: int) -> list[dict[str, Any]]:
        """What a handset shows, newest first."""
        answer = await self._call("GET", f"/phones/{phone_id}/texts?limit={limit}", None)
        return answer["texts"]

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(self, method: str, path: str, body: object) -> Any:
        self.check()
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.request(method, self._url + path, json=body) as response:
                answer = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            raise unavailable("The host of simulated phones did not answer.") from None
        if status < 400:
            return answer
        if status == 404:
            raise Problem(404, "not_simulated_here", "No handset is simulated for this phone.")
        raise Problem(422, "simulator_refused", str(answer.get("detail", "It was refused.")))
