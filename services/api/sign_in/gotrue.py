"""GoTrue's shapes, as Supabase's clients expect them: errors, users, tokens.

An error's body depends on a header of the request: with X-Supabase-Api-Version 2024-01-01 or later
``{code, message}``, else ``{code, error_code, msg}``. Clients branch on the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from shared.http import json_response

VERSION_HEADER = "X-Supabase-Api-Version"
VERSION = "2024-01-01"

NO_SESSION = "Session from session_id claim in JWT does not exist"
INVALID_LINK = "Email link is invalid or has expired"
INVALID_CODE = "Token has expired or is invalid"


class AuthError(Exception):
    """What GoTrue answers when it says no."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        self.retry_after_s = retry_after_s


def answer(error: AuthError, request: web.Request) -> web.Response:
    """The error as this client reads it."""
    headers = {"x-sb-error-code": error.code, "Cache-Control": "no-store"}
    if error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="8ms"'
    if request.headers.get(VERSION_HEADER, "") >= VERSION:
        headers[VERSION_HEADER] = VERSION
        body: dict[str, Any] = {"code": error.code, "message": error.message}
    else:
        body = {"code": error.status, "error_code": error.code, "msg": error.message}
    return json_response(body, error.status, headers)


@dataclass(frozen=True, slots=True)
class User:
    """A person who signs in here."""

    id: str
    email: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    last_sign_in_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A session with the tokens that were just given out."""

    id: str
    user: User
    access_token: str
    refresh_token: str
    expires_at: datetime
    lives_s: int


def user_from(row: Any) -> User:
    """A row of ``vault_user``."""
    return User(
        str(row["id"]),
        row["email"],
        row["metadata"],
        row["created_at"],
        row["updated_at"],
        row["last_sign_in_at"],
    )


APP_METADATA = {"provider": "email", "providers": ["email"]}


def user(found: User) -> dict[str, Any]:
    """The user object. Nobody is here who has not shown to have the address."""
    identity = {
        "identity_id": found.id,
        "id": found.id,
        "user_id": found.id,
        "identity_data": {"email": found.email, "email_verified": True, "sub": found.id},
        "provider": "email",
        "email": found.email,
        "last_sign_in_at": found.last_sign_in_at,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }
    return {
        "id": found.id,
        "aud": "authenticated",
        "role": "authenticated",
        "email": found.email,
        "email_confirmed_at": found.created_at,
        "phone": "",
        "confirmed_at": found.created_at,
        "last_sign_in_at": found.last_sign_in_at,
        "app_metadata": APP_METADATA,
        "user_metadata": found.metadata,
        "identities": [identity],
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "is_anonymous": False,
    }


def tokens(session: Session) -> dict[str, Any]:
    """The token response."""
    return {
        "access_token": session.access_token,
        "token_type": "bearer",
        "expires_in": session.lives_s,
        "expires_at": int(session.expires_at.timestamp()),
        "refresh_token": session.refresh_token,
        "user": user(session.user),
    }


def claims(
    found: User, session_id: str, issuer: str, signed_in_at: datetime, now: datetime, lives_s: int
) -> dict[str, Any]:
    """What an access token says."""
    issued = int(now.timestamp())
    return {
        "iss": issuer,
        "sub": found.id,
        "aud": "authenticated",
        "exp": issued + lives_s,
        "iat": issued,
        "email": found.email,
        "phone": "",
        "app_metadata": APP_METADATA,
        "user_metadata": found.metadata,
        "role": "authenticated",
        "aal": "aal1",
        "amr": [{"method": "otp", "timestamp": int(signed_in_at.timestamp())}],
        "session_id": session_id,
        "is_anonymous": False,
    }


def settings(enabled: bool) -> dict[str, Any]:
    """What /settings tells: sign-in by e-mail and nothing else."""
    return {
        "external": {"email": enabled, "phone": False, "anonymous_users": False},
        "disable_signup": False,
        "mailer_autoconfirm": False,
        "phone_autoconfirm": False,
        "sms_provider": "",
        "saml_enabled": False,
        "mfa_enabled": False,
    }
