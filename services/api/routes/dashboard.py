"""/app and /login: the dashboard, a client of the API that this service also hands out.

Its files are in clients/dashboard and are read once. They are served under a name made of what they
hold, so a browser keeps them for ever and a new release is a new name; relative imports go on
working, and nothing has to be built.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

FOLDER = Path(__file__).parents[3] / "clients" / "dashboard"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
LASTING = "public, max-age=31536000, immutable"
RELEASE_CHARS = 16
# Not a script, a style or a request that is not ours. Images: QR codes are data of ours.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it goes out."""

    media_type: str
    plain: bytes
    packed: bytes


class Dashboard:
    """The page and its files, from memory."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.files = {
            path.relative_to(folder).as_posix(): _file(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in TYPES
        }
        digest = hashlib.sha256()
        for name, file in self.files.items():
            digest.update(name.encode() + b"\0" + hashlib.sha256(file.plain).digest())
        self.base = f"/app/-/{digest.hexdigest()[:RELEASE_CHARS]}"
        self._page = self._fill((folder / "index.html").read_text())

    def _fill(self, template: str) -> File:
        # Named ahead, the modules come at once and not each after the one that imports it.
        preloads = "\n".join(
            f'<link rel="modulepreload" href="{self.base}/{name}">'
            for name in self.files
            if name.endswith(".js") and name != "main.js"
        )
        text = template.replace("{base}", self.base).replace("{preloads}", preloads)
        page = text.encode()
        return File("text/html", page, gzip.compress(page, mtime=0))

    def add_to(self, app: web.Application) -> None:
        """Put the routes into ``app``."""
        app.router.add_get(self.base + "/{name:.+}", self.file)
        for path in ("/login", "/app", "/app/{page:.*}"):
            app.router.add_get(path, self.page)

    async def page(self, request: web.Request) -> web.Response:
        """GET /app and below: one page, which finds out by its address what to show."""
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        if request.match_info.get("page", "").startswith("-/"):
            raise web.HTTPNotFound  # a file of another release
        return _answer(self._page, request, headers)

    async def file(self, request: web.Request) -> web.Response:
        """GET /app/-/{release}/{name}."""
        file = self.files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return _answer(file, request, {"Cache-Control": LASTING})


def _file(path: Path) -> File:
    plain = path.read_bytes()
    return File(TYPES[path.suffix], plain, gzip.compress(plain, mtime=0))


def _answer(file: File, request: web.Request, headers: dict[str, str]) -> web.Response:
    headers = {**headers, **SAFE, hdrs.VARY: "Accept-Encoding"}
    body = file.plain
    if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        body = file.packed
    return web.Response(body=body, content_type=file.media_type, charset="utf-8", headers=headers)
