"""/dev/mail: on a developer's machine without a mail server, what would have been mailed.

It signs in whoever reads it, so it is for this machine alone: the connection must come from it, not
through a proxy, and ask for it by a name of its own, which a page of another site cannot (DNS
rebinding).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from services.api.postman import Postman
from services.api.sign_in import pages

PATH = "/dev/mail"
NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


class DevMail:
    """Serves the page."""

    def __init__(self, post: Postman) -> None:
        self._post = post

    def add_to(self, app: web.Application) -> None:
        """Put the page into ``app``."""
        app.router.add_get(PATH, self.page)

    async def page(self, request: web.Request) -> web.Response:
        """GET /dev/mail."""
        if not from_here(request):
            raise web.HTTPNotFound
        text = pages.mails(await self._post.listed())
        return web.Response(text=text, content_type="text/html", headers=pages.headers())


def from_here(request: web.Request) -> bool:
    """Whether a request comes from this machine, and from nobody behind it."""
    try:
        local = ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False
    host = urlsplit(f"//{request.host}").hostname
    return local and host in NAMES and not any(name in request.headers for name in FORWARDED)
