"""Chromium without a window, driven over its DevTools protocol: open a page, ask it things.

It keeps every request the page made, and everything it complained about.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PATIENCE_S = 30.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--remote-debugging-port=0", "--window-size=1400,1000",
)  # fmt: skip


class Page:
    """One open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Take what the browser says; for ever."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._calls.pop(said["id"]).set_result(said.get("result", said.get("error")))
                continue
            params = said.get("params", {})
            match said["method"]:
                case "Network.requestWillBeSent":
                    self.requests.append(params["request"]["url"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(params["exceptionDetails"]))
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    self.complaints.append(str(params["entry"]))
                case "Runtime.consoleAPICalled" if params["type"] == "error":
                    self.complaints.append(str(params["args"]))
                case _:
                    pass

    async def call(self, method: str, **params: Any) -> Any:
        """A call of the protocol; its result."""
        self._last += 1
        number = self._last
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE_S):
            return await future

    async def eval(self, expression: str) -> Any:
        """What JavaScript makes of ``expression``."""
        result = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until ``expression`` is true."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.eval(expression):
                await asyncio.sleep(0.1)

    async def go(self, url: str) -> None:
        """Open an address, as somebody who types it."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def sees(self, text: str, within: str = "body") -> None:
        """Wait until ``text`` is to be read."""
        words = f"document.querySelector({within!r})?.innerText.includes({json.dumps(text)})"
        try:
            await self.until(words)
        except TimeoutError:
            shown = await self.eval("document.body.innerText")
            raise AssertionError(f"not to be seen: {text}\n{shown}\n{self.complaints}") from None

    async def click(self, name: str, within: str = "body") -> None:
        """Press the button or link with this name, once it is there and may be pressed."""
        find = f"""[...document.querySelectorAll({f"{within} :is(button,a,summary,label)"!r})].find(
            (one) => !one.disabled && one.checkVisibility() && [one.getAttribute("aria-label"),
              one.innerText.trim().split("\\n")[0]].includes({json.dumps(name)}))"""
        try:
            await self.until(f"!!{find}")
        except TimeoutError:
            shown = await self.eval("document.body.innerText")
            raise AssertionError(f"nothing to press: {name}\n{shown}") from None
        await self.eval(f"{find}.click()")

    async def write(self, label: str, text: str, within: str = "body") -> None:
        """Type into the field with this label, over what was there."""
        find = f"""[...document.querySelectorAll({f"{within} :is(input,textarea,select)"!r})].find(
            (one) => [one.getAttribute("aria-label"), one.labels?.[0]?.innerText.trim()].includes(
              {json.dumps(label)}))"""
        await self.until(f"!!{find}")
        await self.eval(f"(() => {{ const it = {find}; it.focus(); it.select?.(); }})()")
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key: a letter, Enter, Escape."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Escape": 27}.get(key, ord(key.upper()) if len(key) == 1 else 0)
        event = {"key": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    async def choose_file(self, path: Path) -> None:
        """Give a file to the page's file field."""
        root = await self.call("DOM.getDocument")
        where = {"nodeId": root["root"]["nodeId"], "selector": "input[type=file]"}
        field = await self.call("DOM.querySelector", **where)
        await self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=field["nodeId"])

    async def look(self, width: int, scheme: str = "light", height: int = 900) -> None:
        """As wide as this, by day or by night."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        features = [{"name": "prefers-color-scheme", "value": scheme}, still]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path) -> None:
        """What is to be seen, as PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def opened(url: str, directory: Path) -> AsyncIterator[Page]:
    """``url`` in a browser of its own; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("the command chromium is not installed")
    profile = directory / "profile"
    process = await asyncio.create_subprocess_exec(
        program, *FLAGS, f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                targets = await response.json()
            target = next(one for one in targets if one["type"] == "page")
            address = target["webSocketDebuggerUrl"]
            async with http.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                for domain in ("Network", "Runtime", "Log", "Page"):
                    await page.call(f"{domain}.enable")
                await page.call("Page.navigate", url=url)
                yield page
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _port(path: Path) -> int:
    """Where the browser listens, once it has said so."""
    async with asyncio.timeout(PATIENCE_S):
        while not (path.exists() and path.read_text().strip()):
            await asyncio.sleep(0.05)
    return int(path.read_text().split()[0])
