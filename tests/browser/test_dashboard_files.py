"""What a browser is given for the dashboard: small, lasting, and nothing that is not ours."""

import gzip
import re
from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp import ClientSession, web

from services.api.routes.dashboard import FOLDER, Dashboard

FIRST_LOAD_MAX_BYTES = 250_000
IMPORT = re.compile(r'^(?:import|export) [^"]*from "([^"]+)";$', re.MULTILINE)


@pytest_asyncio.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    Dashboard().add_to(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_page_allows_no_script_but_ours_and_names_every_module(url: str) -> None:
    async with ClientSession() as http:
        for path in ("/app", "/app/inbox/cnv_1", "/login"):
            async with http.get(url + path) as response:
                text = await response.text()
                policy = response.headers["Content-Security-Policy"]
                assert "script-src 'self';" in policy
                assert "unsafe" not in policy
                assert response.headers["Cache-Control"] == "no-cache"
        assert "<script>" not in text
        for name in re.findall(r'(?:href|src)="(/app/-/[^"]+)"', text):
            async with http.get(url + name) as response:
                assert response.status == 200, name
                assert "immutable" in response.headers["Cache-Control"]
        async with http.get(f"{url}/app/-/another/main.js") as response:
            assert response.status == 404


async def test_the_first_load_is_small(url: str) -> None:
    files = Dashboard().files
    assert sum(len(file.packed) for file in files.values()) < FIRST_LOAD_MAX_BYTES
    async with ClientSession(auto_decompress=False) as http:
        headers = {"Accept-Encoding": "gzip"}
        async with http.get(f"{url}{Dashboard().base}/main.js", headers=headers) as response:
            assert gzip.decompress(await response.read()) == files["main.js"].plain


def test_every_import_is_a_file_of_ours() -> None:
    for path in FOLDER.rglob("*.js"):
        for name in IMPORT.findall(path.read_text()):
            assert name.startswith("."), (path, name)
            assert (path.parent / name).resolve().is_file(), (path, name)
