"""/auth/v1: the embedded sign-in, in GoTrue's protocol, so that Supabase's own clients use it.

It stands beside the operations of /v1: its requests, answers and errors are GoTrue's, and whoever
calls is not signed in yet.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from aiohttp import web
from msgspec import Struct

from services.api.api import Api
from services.api.callers import access_token
from services.api.decide import sign_in as rules
from services.api.limits import Buckets, subscriber
from services.api.sign_in import gotrue, letters, pages
from services.api.sign_in.gotrue import AuthError, Session
from services.api.sign_in.signing import MAX_AGE_S
from services.api.sign_in.tokens import Claims, TokenRefused
from services.api.sign_in.wiring import PATH, Here
from shared.http import json_response
from shared.problems import Problem

BODY_MAX_BYTES = 16 * 1024
METADATA_MAX_BYTES = 4 * 1024
TOKEN_MAX_CHARS = 256
WINDOW_S = 300.0
# Per address and five minutes, as Supabase limits them.
MAILS, VERIFICATIONS, REFRESHES = 30, 30, 150
KINDS = frozenset({"magiclink", "signup", "email", "invite", "recovery"})
FORM = "application/x-www-form-urlencoded"
B = TypeVar("B", bound=Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OtpBody(Struct):
    """POST /otp. What clients send besides is for features we do not have."""

    email: str | None = None
    phone: str | None = None
    create_user: bool = True
    data: dict[str, Any] | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None


class VerifyBody(Struct):
    """POST /verify."""

    type: str = ""
    token_hash: str | None = None
    token: str | None = None
    email: str | None = None
    phone: str | None = None


class TokenBody(Struct):
    """POST /token, of either grant."""

    refresh_token: str | None = None
    auth_code: str | None = None
    code_verifier: str | None = None


class SignInRoutes:
    """The handlers; ``here`` has what they do."""

    def __init__(self, api: Api, here: Here) -> None:
        self._api, self._here, self._sign_in = api, here, api.sign_in
        self._clock = api.clock
        settings = api.context.settings
        self._origins: frozenset[str] = settings.origins
        self._mails, self._verifications, self._refreshes = (
            Buckets("sign_in", most / WINDOW_S, WINDOW_S)
            for most in (MAILS, VERIFICATIONS, REFRESHES)
        )

    def add_to(self, app: web.Application) -> None:
        """Put the routes into ``app``."""
        for method, path, handle in (
            ("POST", "/otp", self.otp),
            ("POST", "/verify", self.verify),
            ("POST", "/token", self.token),
            ("GET", "/user", self.user),
            ("POST", "/logout", self.logout),
            ("GET", "/settings", self.settings),
            ("GET", "/health", self.health),
            ("GET", "/.well-known/jwks.json", self.jwks),
        ):
            app.router.add_route(method, PATH + path, _gotrue(handle))
        app.router.add_get(PATH + "/verify", _gotrue(self.page))  # and HEAD, for what scans mail

    # -- asking for a mail -------------------------------------------------------------------------

    async def otp(self, request: web.Request) -> web.Response:
        """POST /otp: mail a link and a code. The same answer whoever the address belongs to."""
        self._limit(self._mails, request)
        body = await _body(request, OtpBody)
        if body.phone:
            raise AuthError(400, "phone_provider_disabled", "Unsupported phone provider")
        address = rules.email(body.email or "")
        if address is None:
            raise _invalid("Unable to validate email address: invalid format")
        challenge = rules.challenge(body.code_challenge, body.code_challenge_method)
        if challenge == "invalid":
            raise _invalid("PKCE flow requires code_challenge_method and code_challenge")
        metadata = body.data or {}
        written = msgspec.json.encode(metadata)
        if len(written) > METADATA_MAX_BYTES or b"\\u0000" in written:  # which no table takes
            raise _invalid(f"data must have at most {METADATA_MAX_BYTES} bytes, and no NUL")
        if not self._sign_in.mails:
            raise AuthError(422, "email_provider_disabled", "Email logins are disabled")
        redirect_to = rules.redirect(
            request.query.get("redirect_to") or request.headers.get("redirect_to"),
            self._sign_in.home,
            self._origins,
            self._sign_in.development,
        )
        if not body.create_user and not await self._here.one_time.knows(address):
            return json_response({})  # whether somebody is known here is nobody's business
        wanted = rules.Wanted(address, redirect_to, metadata, challenge)

        def write(token: str, code: str) -> Any:
            url = letters.link(self._sign_in.issuer, token)
            return letters.sign_in(address, url, code)

        await self._here.one_time.mail(wanted, write, self._clock.now())
        return json_response({})

    # -- the link ----------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.Response:
        """GET /verify: where a mail's link leads. Shows a button and uses nothing up."""
        self._limit(self._verifications, request)
        token = request.query.get("token", "")
        if not token or len(token) > TOKEN_MAX_CHARS or not request.query.get("type"):
            raise _invalid("Verify requires a token and a type")
        row = await self._here.one_time.look(token, self._clock.now())
        if row is None:
            return self._gone()
        # Browsers hold the redirect behind a form to its form-action too.
        allowed = f"'self' {rules.origin(row['redirect_to'])}"
        return _html(pages.confirm(row["email"], token), 200, pages.headers(allowed))

    async def verify(self, request: web.Request) -> web.StreamResponse:
        """POST /verify: the button's click, or a program with a link's token or a code."""
        self._limit(self._verifications, request)
        if request.content_type == FORM:
            return await self._clicked(request)
        body = await _body(request, VerifyBody)
        now, agent = self._clock.now(), _agent(request)
        if body.type not in KINDS:
            raise _invalid("Verify requires a verification type")
        if body.token_hash:
            if body.email or body.phone or body.token:
                raise _invalid("Only the token_hash and type should be provided")
            begun = await self._here.one_time.by_link(body.token_hash[:TOKEN_MAX_CHARS], agent, now)
        else:
            address = rules.email(body.email or "")
            if address is None or not body.token:
                raise _invalid("Verify requires an email and a token, or a token_hash")
            code = body.token[:TOKEN_MAX_CHARS].replace(" ", "")
            begun = await self._here.one_time.by_code(address, code, agent, now)
        return _tokens(await self._here.sessions.tokens(begun, now))

    async def _clicked(self, request: web.Request) -> web.StreamResponse:
        if not self._from_our_page(request):
            return _html(pages.elsewhere(), 403, pages.headers())
        form = await request.post()
        token = form.get("token")
        if not isinstance(token, str) or not 0 < len(token) <= TOKEN_MAX_CHARS:
            return self._gone()
        now = self._clock.now()
        clicked = await self._here.one_time.click(token, _agent(request), now)
        if clicked is None:
            return self._gone()
        if clicked.begun is None:
            mark = "&" if urlsplit(clicked.redirect_to).query else "?"
            base, hash_, rest = clicked.redirect_to.partition("#")
            code = urlencode({"code": clicked.auth_code})
            return _see_other(f"{base}{mark}{code}{hash_}{rest}")
        session = await self._here.sessions.tokens(clicked.begun, now)
        said = gotrue.tokens(session)
        names = ("access_token", "expires_at", "expires_in", "refresh_token")
        fragment = {name: said[name] for name in names}
        fragment |= {"sb": "", "token_type": "bearer", "type": "magiclink"}
        return _see_other(f"{clicked.redirect_to.partition('#')[0]}#{urlencode(fragment)}")

    def _from_our_page(self, request: web.Request) -> bool:
        """Whether the click came from our own page: else another site could sign somebody in as
        somebody else. Browsers say so themselves; programs have no form to send."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site in ("same-origin", "none")
        sent_from = request.headers.get("Origin")
        return sent_from in (None, rules.origin(self._sign_in.home))

    def _gone(self) -> web.Response:
        return _html(pages.gone(self._sign_in.home), 410, pages.headers())

    # -- tokens and sessions -----------------------------------------------------------------------

    async def token(self, request: web.Request) -> web.Response:
        """POST /token?grant_type=refresh_token, or pkce."""
        self._limit(self._refreshes, request)
        grant = request.query.get("grant_type", "")
        if grant not in ("refresh_token", "pkce"):
            raise AuthError(400, "invalid_credentials", "unsupported_grant_type")
        body, now = await _body(request, TokenBody), self._clock.now()
        if grant == "refresh_token":
            if not body.refresh_token or len(body.refresh_token) > TOKEN_MAX_CHARS:
                raise _invalid("refresh_token required")
            return _tokens(await self._here.sessions.refresh(body.refresh_token, now))
        if not body.auth_code or not body.code_verifier:
            raise _invalid("invalid request: both auth code and code verifier should be non-empty")
        code = body.auth_code[:TOKEN_MAX_CHARS]
        begun = await self._here.one_time.by_auth_code(
            code, body.code_verifier, _agent(request), now
        )
        return _tokens(await self._here.sessions.tokens(begun, now))

    async def user(self, request: web.Request) -> web.Response:
        """GET /user: who is signed in, if they still are."""
        claims = await self._claims(request)
        found = await self._here.sessions.user(claims, self._clock.now())
        return json_response(gotrue.user(found), headers={"Cache-Control": "no-store"})

    async def logout(self, request: web.Request) -> web.Response:
        """POST /logout?scope=global|local|others."""
        scope = request.query.get("scope", "global")
        if scope not in ("global", "local", "others"):
            raise _invalid(f'Unsupported logout scope "{scope[:20]}"')
        claims = await self._claims(request)
        found = await self._here.sessions.user(claims, self._clock.now())
        await self._here.sessions.end(found.id, claims.session_id, scope)
        return web.Response(status=204)

    async def _claims(self, request: web.Request) -> Claims:
        token = access_token(request.headers.get("Authorization"))
        if not token:
            raise AuthError(401, "no_authorization", "This endpoint requires a valid Bearer token")
        try:
            return await self._sign_in.users.read(token, self._clock.now())
        except TokenRefused:
            raise AuthError(
                403, "bad_jwt", "invalid JWT: unable to parse or verify signature"
            ) from None

    # -- about -------------------------------------------------------------------------------------

    async def jwks(self, _: web.Request) -> web.Response:
        """GET /.well-known/jwks.json."""
        headers = {
            "Cache-Control": f"public, max-age={MAX_AGE_S}",
            "Access-Control-Allow-Origin": "*",
        }
        return json_response(await self._here.keys.document(), headers=headers)

    async def settings(self, _: web.Request) -> web.Response:
        """GET /settings."""
        return json_response(gotrue.settings(self._sign_in.mails))

    async def health(self, _: web.Request) -> web.Response:
        """GET /health."""
        return json_response({"name": "8ms", "version": "1", "description": "Sign-in of 8ms"})

    def _limit(self, buckets: Buckets, request: web.Request) -> None:
        """Per address, on this instance; what must hold everywhere is counted by one_time.py."""
        address = subscriber(self._api.answering.address(request))
        left_s = buckets.take(address, time.monotonic())
        if left_s < 0:
            raise AuthError(
                429, "over_request_rate_limit", "Request rate limit reached", math.ceil(-left_s)
            )


class NoSignIn:
    """/auth/v1 where Supabase signs people in: nothing is here, and it says where."""

    def __init__(self, supabase_url: str) -> None:
        self._url = supabase_url

    def add_to(self, app: web.Application) -> None:
        """Put the one answer into ``app``."""
        app.router.add_route("*", PATH + "/{path:.*}", self.refuse)

    async def refuse(self, _: web.Request) -> web.Response:
        """Anything."""
        raise Problem(
            404,
            "sign_in_elsewhere",
            "People sign in with Supabase here.",
            sign_in_url=f"{self._url}{PATH}",
        )


def _gotrue(handle: Handler) -> Handler:
    """What goes wrong, in the shape that clients of GoTrue read."""

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await handle(request)
        except AuthError as error:
            return gotrue.answer(error, request)

    return serve


async def _body(request: web.Request, kind: type[B]) -> B:
    if (request.content_length or 0) > BODY_MAX_BYTES:
        raise AuthError(413, "validation_failed", "The request is too long")
    raw = await request.read()
    if len(raw) > BODY_MAX_BYTES:
        raise AuthError(413, "validation_failed", "The request is too long")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise AuthError(400, "bad_json", "Could not parse request body as JSON") from None


def _invalid(message: str) -> AuthError:
    return AuthError(400, "validation_failed", message)


def _agent(request: web.Request) -> str:
    return request.headers.get("User-Agent", "")


def _tokens(session: Session) -> web.Response:
    headers = {
        "Cache-Control": "no-store",
        "sb-auth-user-id": session.user.id,
        "sb-auth-session-id": session.id,
    }
    return json_response(gotrue.tokens(session), headers=headers)


def _see_other(url: str) -> web.Response:
    return web.Response(
        status=303,
        headers={"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )


def _html(text: str, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)
