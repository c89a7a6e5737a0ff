"""The few pages for people, and the documents for programs: no sign-in, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape

import msgspec
from aiohttp import web

from services.api.catalogue import CATALOGUE, Entry
from services.api.openapi import document
from services.api.operation import Operation
from shared.problems import TITLES, Problem

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}"
    "code{font-family:ui-monospace,monospace}h1{font-size:1.5rem}"
    "dt{font-weight:600;margin-top:1rem}dd{margin:0}"
    "table{border-collapse:collapse;width:100%}td{padding:.25rem .5rem .25rem 0;vertical-align:top}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "public, max-age=300",
}


class Site:
    """Serves the front page, the problem pages and the OpenAPI document."""

    def __init__(self, operations: tuple[Operation, ...], public_url: str) -> None:
        self._openapi = msgspec.json.encode(document(operations, public_url))

    def add_to(self, app: web.Application) -> None:
        """Put the routes into ``app``."""
        app.router.add_get("/", self.front)
        app.router.add_get("/problems", self.problems)
        app.router.add_get("/problems/{code}", self.problem)
        app.router.add_get("/v1/openapi.json", self.openapi)

    async def openapi(self, _: web.Request) -> web.Response:
        """GET /v1/openapi.json."""
        return web.Response(
            body=self._openapi,
            content_type="application/json",
            headers={"Cache-Control": "public, max-age=60", "Access-Control-Allow-Origin": "*"},
        )

    async def front(self, _: web.Request) -> web.Response:
        """GET /: what this is."""
        return html(
            "8ms",
            "<h1>8ms</h1><p>An SMS gateway on your own Android phones.</p>"
            '<ul><li><a href="/app">Dashboard</a>: sign in, add a phone, answer people</li>'
            '<li><a href="/v1/docs">Reference, to read and to try</a></li>'
            '<li><a href="/v1/openapi.json">OpenAPI document</a></li>'
            '<li><a href="/problems">Problems, and what to do about them</a></li></ul>',
        )

    async def problems(self, _: web.Request) -> web.Response:
        """GET /problems: all codes."""
        lines = "".join(
            f'<tr><td><a href="/problems/{code}"><code>{code}</code></a></td>'
            f"<td>{escape(entry.meaning)}</td></tr>"
            for code, entry in sorted(CATALOGUE.items())
        )
        return html("Problems", f"<h1>Problems</h1><table>{lines}</table>")

    async def problem(self, request: web.Request) -> web.Response:
        """GET /problems/{code}: one code."""
        code = request.match_info["code"]
        entry = CATALOGUE.get(code)
        if entry is None:
            raise Problem(404, "not_found", "There is no problem with this code.")
        return html(code, _about(code, entry))


def _about(code: str, entry: Entry) -> str:
    return (
        f"<h1><code>{escape(code)}</code></h1><dl>"
        f"<dt>Status</dt><dd>{entry.status} {escape(TITLES[entry.status])}</dd>"
        f"<dt>What it means</dt><dd>{escape(entry.meaning)}</dd>"
        f"<dt>What to do</dt><dd>{escape(entry.remedy)}</dd></dl>"
        '<p><a href="/problems">All problems</a></p>'
    )


def html(title: str, body: str) -> web.Response:
    """A page in our style; ``body`` is HTML."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )
    return web.Response(text=text, content_type="text/html", headers=HEADERS)
