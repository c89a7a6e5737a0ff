"""GET /v1/docs in a browser: it shows the API, and asks nobody else for anything."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import ClientSession, web

from services.api.operations import OPERATIONS
from services.api.routes.docs import BUNDLE, Docs
from services.api.routes.site import Site
from tests.browser.chromium import opened

SENDING = "Send a text"


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    """The pages of the API, without what is behind them."""
    app = web.Application()
    Docs("https://api.example.com").add_to(app)
    Site(OPERATIONS, "https://api.example.com").add_to(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_reference_shows_every_operation_and_asks_nobody_else(
    url: str, tmp_path: Path
) -> None:
    async with opened(f"{url}/v1/docs", tmp_path) as page:
        await page.until(f"document.body.innerText.includes({SENDING!r})")
        await page.until("document.body.innerText.includes('Authentication')")
        if pictures := os.environ.get("EIGHTMS_PICTURES"):
            await page.picture(Path(pictures) / "docs.png")
        asked = {one for one in page.requests if not one.startswith(("data:", "blob:"))}
        paths = ("/v1/docs", f"/v1/docs/{BUNDLE}", "/v1/docs/start.js", "/v1/openapi.json")
        assert asked == {f"{url}{path}" for path in paths}
        assert page.complaints == []


async def test_the_scripts_come_packed_to_who_takes_them_so(url: str) -> None:
    bundle = f"{url}/v1/docs/{BUNDLE}"
    async with ClientSession(auto_decompress=False) as http:
        async with http.get(bundle, headers={"Accept-Encoding": "gzip"}) as response:
            packed = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
        async with http.get(bundle, headers={"Accept-Encoding": "identity"}) as response:
            plain = await response.read()
            assert "Content-Encoding" not in response.headers
            assert "immutable" in response.headers["Cache-Control"]
        assert len(packed) < 1_100_000 < len(plain)
        async with http.get(f"{url}/v1/docs") as response:
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; ")
