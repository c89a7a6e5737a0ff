"""What a person sees between the mail and being signed in. Pure: text out.

No script, nothing from elsewhere. The link of a mail only shows a button; what signs in is its
click, which is a POST, so a scanner that opens every link uses nothing up.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from html import escape

from shared.mail import Mail

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1.25rem}"
    "h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}p{margin:0 0 1rem}"
    "strong{overflow-wrap:anywhere}"
    "button{font:inherit;font-weight:600;width:100%;padding:.75rem 1rem;border:0;"
    "border-radius:.5rem;background:#1d4ed8;color:#fff;cursor:pointer}"
    "button:hover{background:#1e40af}"
    "button:focus-visible,a:focus-visible{outline:3px solid #60a5fa;outline-offset:2px}"
    ".note{color:color-mix(in srgb,currentColor 72%,transparent);font-size:.875rem}"
    "article{border-top:1px solid color-mix(in srgb,currentColor 20%,transparent);padding:1rem 0}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:0}"
    "body.wide{max-width:44rem;margin-top:3rem}h2{font-size:1rem;margin:0}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def headers(form_action: str = "'none'") -> dict[str, str]:
    """Of a page whose form goes to ``form_action``."""
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
        f"base-uri 'none'; form-action {form_action}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        # The address holds the link's token: no other site is told it. Our own is, or the click
        # would not say where it comes from (Origin).
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
        "X-Robots-Tag": "noindex",
    }


def confirm(email: str, token: str) -> str:
    """The page of a link that works: a button."""
    return _page(
        "Sign in to 8ms",
        "<h1>Sign in to 8ms</h1>"
        f"<p>You are about to sign in as <strong>{escape(email)}</strong>.</p>"
        '<form method="post" action="verify">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        '<p><button type="submit">Sign in</button></p></form>'
        '<p class="note">You did not ask for this? Close the page: without the click nothing '
        "happens.</p>",
    )


def gone(home: str) -> str:
    """The page of a link that does not work, or not any more."""
    return _page(
        "This link does not work any more",
        "<h1>This link does not work any more</h1>"
        "<p>A link signs in once, and only for a while. Ask for a new one where you sign in; if "
        "you asked several times, use the newest mail.</p>"
        f'<p><a href="{escape(home)}">To the start page</a></p>',
    )


def elsewhere() -> str:
    """The page when the click came from another site."""
    return _page(
        "Open the link in your mail",
        "<h1>Open the link in your mail</h1>"
        "<p>Another site sent you here, and might sign you in as somebody else. Open the link in "
        "your own mail instead.</p>",
    )


def mails(found: Sequence[tuple[datetime, Mail]]) -> str:
    """Mail that stays here because no mail server is set (development)."""
    shown = "".join(
        f"<article><h2>{escape(mail.subject)}</h2>"
        f'<p class="note">to {escape(mail.to)}, {at:%H:%M:%S} UTC</p>'
        f"<pre>{_linked(mail.text)}</pre></article>"
        for at, mail in found
    )
    return _page(
        "Mail",
        "<h1>Mail</h1><p>This is a development installation without a mail server: what it mails "
        "is shown here and in the terminal, and goes nowhere.</p>"
        + (shown or "<p>There is none yet.</p>"),
        wide=True,
    )


def _linked(text: str) -> str:
    """Lines that are an address become links; the rest is shown as it is."""
    lines: list[str] = []
    for line in text.strip().split("\n"):
        safe = escape(line)
        lines.append(
            f'<a href="{safe}">{safe}</a>' if line.startswith(("http://", "https://")) else safe
        )
    return "\n".join(lines)


def _page(title: str, body: str, *, wide: bool = False) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body{' class=wide' if wide else ''}><main>{body}</main></body></html>"
    )
