"""Signing in: by a mail's link or code, once, by whoever has the mail; staying, and signing out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import pytest_asyncio

from services.api.decide import sign_in as rules
from services.api.sign_in import signing
from tests.api import PUBLIC_URL, ApiWorld
from tests.conftest import new_nats
from tests.people import SETTINGS, People, code_in, link_in, token_in, tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")
VERSION = {"X-Supabase-Api-Version": "2024-01-01"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ApiWorld]:
    nats = new_nats(tmp_path_factory.mktemp("nats"))
    await nats.start()
    try:
        async with ApiWorld(module_database_url, nats, instances=2, **SETTINGS) as world:
            yield world
    finally:
        await nats.stop()


@pytest.fixture
def world(shared_world: ApiWorld) -> ApiWorld:
    shared_world.clock.ahead = timedelta()
    return shared_world


@pytest.fixture
def people(world: ApiWorld) -> People:
    return People(world)


@pytest.fixture
def email() -> str:
    return f"{secrets.token_hex(6)}@example.com"


# -- links -----------------------------------------------------------------------------------------


async def test_whoever_opens_the_link_uses_nothing_up_until_the_click(
    people: People, email: str
) -> None:
    await people.ask(email)
    link = link_in(await people.mail(email))
    assert link.startswith(f"{PUBLIC_URL}/auth/v1/verify?token=")
    path = link.removeprefix(f"{PUBLIC_URL}/auth/v1")
    for _ in range(3):  # a scanner, a preview, the person
        page = await people.get(path)
        assert page.status == 200
        assert email in page.text
        assert '<form method="post" action="verify">' in page.text
        assert "script" not in page.text
    page = await people.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["Cache-Control"] == "no-store"
    head = await people.world.call("HEAD", f"/auth/v1{path}", key="")
    assert head.status == 200
    form = f"token={token_in(await people.mail(email))}".encode()
    clicked = await people.post(
        "/verify", raw=form, headers=FORM | {"Sec-Fetch-Site": "same-origin"}
    )
    assert clicked.status == 303
    where, _, fragment = clicked.headers["Location"].partition("#")
    assert where == f"{PUBLIC_URL}/app"
    said = parse_qs(fragment, keep_blank_values=True)
    assert list(said) == sorted(said)
    assert said["token_type"] == ["bearer"]
    assert (await people.get("/user", key=said["access_token"][0])).body["email"] == email
    again = await people.post("/verify", raw=form, headers=FORM)
    assert again.status == 410
    assert "does not work any more" in again.text
    assert (await people.get(path)).status == 410


async def test_another_site_cannot_click_for_somebody(people: People, email: str) -> None:
    await people.ask(email)
    form = f"token={token_in(await people.mail(email))}".encode()
    for header in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        refused = await people.post("/verify", raw=form, headers=FORM | header)
        assert refused.status == 403
        assert "location" not in {name.lower() for name in refused.headers}
    own = FORM | {"Origin": PUBLIC_URL}
    assert (await people.post("/verify", raw=form, headers=own)).status == 303


async def test_a_link_lives_an_hour_and_the_newest_use_ends_all_others(
    people: People, world: ApiWorld, email: str
) -> None:
    await people.ask(email)
    first = token_in(await people.mail(email))
    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=1)
    await people.ask(email)
    second = token_in((await people.mails(email))[0])
    assert first != second
    tokens(await people.post("/verify", {"type": "email", "token_hash": second}))
    late = await people.post("/verify", {"type": "email", "token_hash": first})
    assert (late.status, late.body["error_code"]) == (403, "otp_expired")
    world.clock.ahead += rules.MAIL_GAP + timedelta(seconds=1)
    await people.ask(email)
    third = token_in((await people.mails(email))[0])
    world.clock.ahead += rules.LINK_LIVES
    expired = await people.post("/verify", {"type": "email", "token_hash": third})
    assert (expired.status, expired.body["error_code"]) == (403, "otp_expired")


async def test_a_code_is_typed_and_five_wrong_ones_end_it(
    people: People, world: ApiWorld, email: str
) -> None:
    await people.ask(email.upper())
    mail = await people.mail(email)
    code = code_in(mail)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    body = {"type": "email", "email": email, "token": wrong}
    for _ in range(rules.CODE_TRIES_MAX - 1):
        answer = await people.post("/verify", body)
        assert (answer.status, answer.body["error_code"]) == (403, "otp_expired")
    good = await people.post("/verify", body | {"token": f"{code[:3]} {code[3:]}"})
    assert tokens(good).user["email"] == email

    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=1)
    await people.ask(email)
    code = code_in((await people.mails(email))[0])
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    for _ in range(rules.CODE_TRIES_MAX):
        await people.post("/verify", body | {"token": wrong})
    assert (await people.post("/verify", body | {"token": code})).status == 403
    link = {"type": "magiclink", "token_hash": token_in((await people.mails(email))[0])}
    tokens(await people.post("/verify", link))  # the link beside it is not guessed by digits


async def test_a_code_dies_before_the_link(people: People, world: ApiWorld, email: str) -> None:
    await people.ask(email)
    mail = await people.mail(email)
    world.clock.ahead = rules.CODE_LIVES + timedelta(seconds=1)
    typed = {"type": "email", "email": email, "token": code_in(mail)}
    assert (await people.post("/verify", typed)).status == 403
    tokens(await people.post("/verify", {"type": "email", "token_hash": token_in(mail)}))


async def test_an_address_is_not_mailed_again_and_again(
    people: People, world: ApiWorld, email: str
) -> None:
    await people.ask(email)
    soon = await people.post("/otp", {"email": email})
    assert (soon.status, soon.body["error_code"]) == (429, "over_email_send_rate_limit")
    assert 50 <= int(soon.headers["Retry-After"]) <= 61
    assert soon.body["msg"].startswith("For security purposes, you can only request this after")
    for n in range(1, rules.MAILS_MAX):
        world.clock.ahead = n * (rules.MAIL_GAP + timedelta(seconds=1))
        await people.ask(email)
    world.clock.ahead += rules.MAIL_GAP + timedelta(seconds=1)
    assert (await people.post("/otp", {"email": email})).status == 429
    world.clock.ahead = rules.MAILS_IN + timedelta(minutes=2)
    await people.ask(email)
    together = [people.post("/otp", {"email": f"x{email}"}) for _ in range(5)]
    statuses = sorted(answer.status for answer in await asyncio.gather(*together))
    assert statuses == [200, 429, 429, 429, 429]


async def test_one_address_of_the_internet_cannot_ask_without_end(people: People) -> None:
    flood = {"X-Forwarded-For": "203.0.113.9"}
    statuses = [
        (await people.post("/verify", {"type": "email"}, headers=flood)).status for _ in range(31)
    ]
    assert statuses[:30] == [400] * 30
    assert statuses[30] == 429
    assert (await people.post("/verify", {"type": "email"})).status == 400


async def test_nobody_learns_whether_an_address_is_known(people: People, email: str) -> None:
    await people.ask(email, create_user=False)
    assert await people.mails(email) == []
    await people.sign_in(email)
    world = people.world
    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=1)
    await people.ask(email, create_user=False)
    assert len(await people.mails(email)) == 2


@pytest.mark.parametrize(
    ("wanted", "leads"),
    [
        (f"{PUBLIC_URL}/app?x=1", f"{PUBLIC_URL}/app?x=1"),
        ("http://localhost:5173/cb", "http://localhost:5173/cb"),  # development
        ("https://evil.example/", f"{PUBLIC_URL}/app"),
        ("http://api.test.evil.example/", f"{PUBLIC_URL}/app"),
        ("http://api.test@evil.example/", f"{PUBLIC_URL}/app"),
        ("javascript:alert(1)", f"{PUBLIC_URL}/app"),
        ("//evil.example", f"{PUBLIC_URL}/app"),
    ],
)
async def test_a_link_leads_only_where_it_may(
    people: People, email: str, wanted: str, leads: str
) -> None:
    answer = await people.world.call(
        "POST", "/auth/v1/otp", {"email": email}, key="",
        headers={"redirect_to": wanted, "X-Forwarded-For": f"198.51.100.{secrets.randbelow(250)}"},
    )  # fmt: skip
    assert answer.status == 200
    form = f"token={token_in(await people.mail(email))}".encode()
    clicked = await people.post("/verify", raw=form, headers=FORM)
    assert clicked.headers["Location"].partition("#")[0] == leads


async def test_with_a_challenge_only_who_asked_gets_the_session(
    people: People, world: ApiWorld, email: str
) -> None:
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    pkce = {"code_challenge": challenge, "code_challenge_method": "s256"}
    answers = []
    for n in range(3):
        world.clock.ahead = n * (rules.MAIL_GAP + timedelta(seconds=1))
        await people.ask(email, **pkce)
        form = f"token={token_in((await people.mails(email))[0])}".encode()
        clicked = await people.post("/verify", raw=form, headers=FORM)
        where = urlsplit(clicked.headers["Location"])
        assert not where.fragment
        answers.append(parse_qs(where.query)["code"][0])

    async def exchange(code: str, with_: str) -> tuple[int, str]:
        body = {"auth_code": code, "code_verifier": with_}
        answer = await people.post("/token?grant_type=pkce", body)
        return answer.status, answer.body.get("error_code") or answer.body["user"]["email"]

    assert await exchange(answers[0], secrets.token_urlsafe(48)) == (400, "bad_code_verifier")
    assert await exchange(answers[0], verifier) == (404, "flow_state_not_found")
    assert await exchange(answers[2], verifier) == (200, email)
    assert await exchange(answers[2], verifier) == (404, "flow_state_not_found")
    world.clock.ahead += rules.AUTH_CODE_LIVES
    assert await exchange(answers[1], verifier) == (422, "flow_state_expired")


# -- sessions --------------------------------------------------------------------------------------


async def test_a_refresh_token_is_used_once_and_a_thief_ends_the_session(
    people: People, world: ApiWorld, email: str
) -> None:
    first = await people.sign_in(email)
    second = tokens(await people.refresh(first.refresh_token))
    assert second.refresh_token != first.refresh_token
    lost = tokens(await people.refresh(first.refresh_token))  # the answer was lost: the same again
    assert lost.refresh_token == second.refresh_token
    third = tokens(await people.refresh(second.refresh_token, instance=1))
    world.clock.ahead = timedelta(seconds=rules.REUSE_S + 1)
    assert (await world.get("/v1/me", key=third.access_token)).status == 200
    stolen = await people.refresh(first.refresh_token, headers=VERSION)
    assert stolen.status == 400
    assert stolen.body == {
        "code": "refresh_token_already_used",
        "message": "Invalid Refresh Token: Already Used",
    }
    assert stolen.headers["x-sb-error-code"] == "refresh_token_already_used"
    dead = await people.refresh(third.refresh_token)
    assert (dead.status, dead.body["error_code"]) == (400, "refresh_token_not_found")
    assert (await world.get("/v1/me", key=third.access_token)).code == "invalid_token"


async def test_refreshes_that_race_end_with_one_token(people: People, email: str) -> None:
    first = await people.sign_in(email)
    racing = [people.refresh(first.refresh_token, instance=n % 2) for n in range(8)]
    got = {tokens(answer).refresh_token for answer in await asyncio.gather(*racing)}
    assert len(got) == 1
    tokens(await people.refresh(got.pop()))


async def test_a_session_that_rests_for_a_month_is_over(
    people: People, world: ApiWorld, email: str
) -> None:
    held = await people.sign_in(email)
    world.clock.ahead = rules.SESSION_IDLE + timedelta(seconds=1)
    over = await people.refresh(held.refresh_token)
    assert (over.status, over.body["error_code"]) == (400, "session_expired")


async def test_signing_out_ends_sessions_on_every_instance(
    people: People, world: ApiWorld, email: str
) -> None:
    here = await people.sign_in(email)
    sessions = [here]
    for n in range(1, 4):
        world.clock.ahead = n * (rules.MAIL_GAP + timedelta(seconds=1))
        await people.ask(email)
        body = {"type": "email", "token_hash": token_in((await people.mails(email))[0])}
        sessions.append(tokens(await people.post("/verify", body)))
    for held in sessions:
        for instance in (0, 1):
            answer = await world.get("/v1/me", key=held.access_token, instance=instance)
            assert answer.status == 200
    first, second, third, fourth = (held.access_token for held in sessions)

    async def works(token: str) -> tuple[bool, bool]:
        statuses = [(await world.get("/v1/me", key=token, instance=n)).status for n in (0, 1)]
        return statuses[0] == 200, statuses[1] == 200

    assert (await people.post("/logout?scope=local", key=fourth)).status == 204
    await world.until(lambda: _is(works(fourth), (False, False)), "the fourth is over")
    assert await works(first) == (True, True)
    assert (await people.post("/logout?scope=others", key=first)).status == 204
    await world.until(lambda: _is(works(second), (False, False)), "the others are over")
    assert await works(first) == (True, True)
    assert (await people.refresh(sessions[2].refresh_token)).status == 400
    assert (await people.post("/logout", key=first)).status == 204
    await world.until(lambda: _is(works(first), (False, False)), "all are over")
    gone = await people.get("/user", key=first)
    assert (gone.status, gone.body["error_code"]) == (403, "session_not_found")
    bad = await people.post("/logout?scope=everything", key=third)
    assert (bad.status, bad.body["error_code"]) == (400, "validation_failed")


async def _is(found: object, wanted: object) -> bool:
    return await found == wanted  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/otp", {"email": "nobody"}, (400, "validation_failed")),
        ("/otp", {"email": "a@b.c, d@e.f"}, (400, "validation_failed")),
        ("/otp", {}, (400, "validation_failed")),
        ("/otp", {"phone": "+14155550100"}, (400, "phone_provider_disabled")),
        ("/otp", {"email": 7}, (400, "validation_failed")),
        ("/otp", {"email": "a@b.c", "code_challenge": "x"}, (400, "validation_failed")),
        ("/otp", {"email": "a@b.c", "data": {"x": "y" * 5000}}, (400, "validation_failed")),
        ("/verify", {"type": "sms", "token_hash": "x"}, (400, "validation_failed")),
        ("/verify", {"type": "email", "token_hash": "x", "email": "a@b.c"},
         (400, "validation_failed")),
        ("/verify", {"type": "email", "token_hash": "x"}, (403, "otp_expired")),
        ("/verify", {"type": "email", "email": "a@b.c", "token": "1"}, (403, "otp_expired")),
        ("/token?grant_type=password", {}, (400, "invalid_credentials")),
        ("/token?grant_type=refresh_token", {}, (400, "validation_failed")),
        ("/token?grant_type=refresh_token", {"refresh_token": "x"},
         (400, "refresh_token_not_found")),
        ("/token?grant_type=pkce", {"auth_code": "x"}, (400, "validation_failed")),
        ("/logout", {}, (401, "no_authorization")),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_as_gotrue_says_it(
    people: People, path: str, body: dict[str, object], expected: tuple[int, str]
) -> None:
    answer = await people.post(path, body)
    assert (answer.status, answer.body["error_code"]) == expected
    assert answer.body["code"] == expected[0]
    assert answer.body["msg"]
    newer = await people.post(path, body, headers=VERSION)
    assert newer.body["code"] == expected[1]
    assert newer.headers["X-Supabase-Api-Version"] == "2024-01-01"


async def test_a_body_that_is_no_json_is_refused(people: People) -> None:
    for raw, code in ((b"{", "bad_json"), (b"\xff", "bad_json"), (b"[]", "validation_failed")):
        answer = await people.post("/otp", raw=raw)
        assert (answer.status, answer.body["error_code"]) == (400, code)
    assert (await people.post("/otp", raw=b'{"email":"' + b"x" * 20_000 + b'"}')).status == 413


async def test_mail_is_shown_to_this_machine_alone(people: People, email: str) -> None:
    await people.ask(email)
    world = people.world
    page = await world.get("/dev/mail", key="")
    assert page.status == 200
    assert link_in(await people.mail(email)).replace("&", "&amp;") in page.text
    for headers in ({"X-Forwarded-For": "203.0.113.1"}, {"Host": "evil.example"}):
        assert (await world.get("/dev/mail", key="", headers=headers)).status == 404


# -- rotation --------------------------------------------------------------------------------------


async def test_a_newer_key_is_published_before_it_signs_and_the_old_one_after(
    people: People, world: ApiWorld, email: str
) -> None:
    held = await people.sign_in(email)
    keys = (await people.get("/.well-known/jwks.json")).body["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "y", "kid", "alg", "use", "key_ops"}]
    context = world.instances[0].context
    made = signing.new_key(context.keys)
    await context.db.owner.execute(
        "INSERT INTO vault_signing_key VALUES ($1, $2, $3, $4, $5)",
        made.kid, made.sealed, made.public, world.clock.now(),
        world.clock.now() + signing.PUBLISHED_FIRST,
    )  # fmt: skip
    desk = people.sign_in_desk.here
    assert desk is not None
    await desk.keys.load()  # what a minute does
    published = [key["kid"] for key in (await people.get("/.well-known/jwks.json")).body["keys"]]
    assert published == [made.kid, keys[0]["kid"]]
    old = tokens(await people.refresh(held.refresh_token))
    assert jwt.get_unverified_header(old.access_token)["kid"] == keys[0]["kid"]
    world.clock.ahead = signing.PUBLISHED_FIRST
    new = tokens(await people.refresh(old.refresh_token))
    assert jwt.get_unverified_header(new.access_token)["kid"] == made.kid
    for token in (old.access_token, new.access_token):
        assert (await people.get("/user", key=token)).status == 200

        async def known_elsewhere(token: str = token) -> bool:
            return (await people.get("/user", key=token, instance=1)).status == 200

        await world.until(known_elsewhere, "the other instance reads the keys again")
    world.clock.ahead = signing.PUBLISHED_FIRST + signing.RETIRES_AFTER
    await desk.keys.load()
    published = [key["kid"] for key in (await people.get("/.well-known/jwks.json")).body["keys"]]
    assert published == [made.kid]
