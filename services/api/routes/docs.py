"""GET /v1/docs: the API reference, to read and to try, without asking anybody else for anything."""

from __future__ import annotations

import gzip
from importlib import resources
from urllib.parse import urlsplit

from aiohttp import hdrs, web

BUNDLE = "scalar-1.46.4.js"
SCRIPTS = (BUNDLE, "start.js")
PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>8ms API</title>
<link rel="icon" href="data:,">
</head>
<body>
<div id="reference"></div>
<noscript>This page needs JavaScript. The same as a document: <a href="/v1/openapi.json">OpenAPI</a>.</noscript>
<script src="/v1/docs/{BUNDLE}"></script>
<script src="/v1/docs/start.js"></script>
</body>
</html>
"""  # noqa: E501
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class Docs:
    """The page and its two scripts, from memory."""

    def __init__(self, public_url: str) -> None:
        home = resources.files("services.api").joinpath("reference")
        self._packed = {BUNDLE: home.joinpath(f"{BUNDLE}.gz").read_bytes()}
        self._packed["start.js"] = gzip.compress(home.joinpath("start.js").read_bytes(), mtime=0)
        parts = urlsplit(public_url)
        # Scalar puts its styles into the page, so styles may; scripts and requests are ours alone.
        self._policy = (
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data:; font-src 'self'; connect-src 'self' {parts.scheme}://"
            f"{parts.netloc}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def add_to(self, app: web.Application) -> None:
        """Put the routes into ``app``."""
        app.router.add_get("/v1/docs", self.page)
        for name in SCRIPTS:
            app.router.add_get(f"/v1/docs/{name}", self.script)

    async def page(self, _: web.Request) -> web.Response:
        """GET /v1/docs."""
        headers = {"Content-Security-Policy": self._policy, "Cache-Control": "no-cache", **SAFE}
        return web.Response(text=PAGE, content_type="text/html", headers=headers)

    async def script(self, request: web.Request) -> web.Response:
        """GET /v1/docs/{script}."""
        name = request.path.rpartition("/")[2]
        body = self._packed[name]
        headers = {"Vary": "Accept-Encoding", **SAFE}
        # The bundle's name has its version; ours may change with every release.
        lasting = "public, max-age=31536000, immutable"
        headers["Cache-Control"] = lasting if name == BUNDLE else "no-cache"
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        else:
            body = gzip.decompress(body)
        return web.Response(body=body, content_type="text/javascript", headers=headers)
