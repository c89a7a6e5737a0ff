"""What the sign-in mails say, and the links in them. Pure."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from shared.mail import Mail

STYLE = "font:16px/1.5 system-ui,sans-serif;color:#1a1a1a"
BUTTON = (
    "display:inline-block;padding:12px 20px;border-radius:6px;background:#1d4ed8;color:#ffffff;"
    "text-decoration:none;font-weight:600"
)


def link(issuer: str, token: str, kind: str = "magiclink") -> str:
    """Where a mail leads: to a page with a button, so that opening it uses nothing up. Where the
    click leads from there is kept with the token."""
    return f"{issuer}/verify?{urlencode({'token': token, 'type': kind})}"


def sign_in(to: str, url: str, code: str) -> Mail:
    """The mail somebody asked for to sign in."""
    shown = f"{code[:3]} {code[3:]}"
    return Mail(
        to=to,
        subject="Sign in to 8ms",
        text=(
            "Open this link to sign in to 8ms:\n\n"
            f"{url}\n\n"
            f"Or type this code where you were asked for it: {code}\n\n"
            "The link works once, within an hour; the code within 15 minutes.\n"
            "If you did not ask for this, leave it: nobody is signed in without it.\n"
        ),
        html=_html(
            "<p>Open this link to sign in to 8ms.</p>"
            f"<p>{_button(url, 'Sign in')}</p>"
            f"<p>Or type this code where you were asked for it: <strong>{shown}</strong></p>"
            "<p>The link works once, within an hour; the code within 15 minutes. If you did not "
            "ask for this, leave it: nobody is signed in without it.</p>"
        ),
    )


def invitation(to: str, url: str, workspace: str, signs_in: bool) -> Mail:
    """The mail an invited person gets. Without ``signs_in`` the link only leads to the sign-in."""
    how = (
        "The link signs you in; it works once, within seven days. After that, sign in with this "
        "address: the invitation stays."
        if signs_in
        else "Sign in with this address to join."
    )
    return Mail(
        to=to,
        subject=f"You are invited to {workspace} on 8ms",
        text=f"You are invited to {workspace} on 8ms:\n\n{url}\n\n{how}\n",
        html=_html(
            f"<p>You are invited to <strong>{escape(workspace)}</strong> on 8ms.</p>"
            f"<p>{_button(url, 'Join')}</p><p>{how}</p>"
        ),
    )


def _button(url: str, label: str) -> str:
    return f'<a href="{escape(url)}" style="{BUTTON}">{label}</a>'


def _html(body: str) -> str:
    return f'<!doctype html><html lang="en"><body style="{STYLE}">{body}</body></html>'
