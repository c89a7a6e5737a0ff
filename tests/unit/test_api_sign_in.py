"""The rules of signing in and of teams, with nothing around them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.callers import Callers, access_token
from services.api.decide import members
from services.api.decide import sign_in as rules
from services.api.limits import subscriber
from services.api.project import PROJECTION, apply
from services.api.project.tables import MEMBER
from shared import auth, ids
from shared import events as e
from shared.problems import Problem
from shared.rows import Rows
from tests.examples import WORKSPACE

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOME = "https://sms.example.com/"


# -- addresses and links ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" Ada@Example.COM ", "ada@example.com"),
        ("owner@localhost", "owner@localhost"),
        ("o'brien+sms@mail.example.co.uk", "o'brien+sms@mail.example.co.uk"),
        ("", None),
        ("ada", None),
        ("@example.com", None),
        ("ada@", None),
        ("ada@-example.com", None),
        ("ada@example..com", None),
        ("ada@example.com, bob@example.com", None),
        ("Ada <ada@example.com>", None),
        ("ada@example.com\nBcc: bob@example.com", None),
        ("ada@exa\x00mple.com", None),
        ("ädä@example.com", None),
        ("a" * 251 + "@b.c", None),
    ],
)
def test_an_address_is_one_address_in_lower_case(text: str, address: str | None) -> None:
    assert rules.email(text) == address


@pytest.mark.parametrize(
    ("wanted", "production", "development"),
    [
        (None, HOME, HOME),
        ("https://sms.example.com/app#x", None, None),
        ("https://app.example.org/in", None, None),
        ("https://app.example.org.evil.example/", HOME, HOME),
        ("https://sms.example.com:8443/", HOME, HOME),
        ("http://sms.example.com/", HOME, HOME),
        ("https://sms.example.com@evil.example/", HOME, HOME),
        ("https://user@sms.example.com/", HOME, HOME),
        ("https://evil.example\\@sms.example.com/", HOME, HOME),
        ("//evil.example/", HOME, HOME),
        ("javascript:alert(1)", HOME, HOME),
        ("https://sms.example.com/\r\nSet-Cookie: x", HOME, HOME),
        ("https://sms.example.com:port/", HOME, HOME),
        ("https://sms.example.com/" + "x" * 2000, HOME, HOME),
        ("http://localhost:5173/cb", HOME, "http://localhost:5173/cb"),
        ("http://127.0.0.1:3000/", HOME, "http://127.0.0.1:3000/"),
    ],
)
def test_a_link_leads_home_unless_the_place_is_allowed(
    wanted: str | None, production: str | None, development: str | None
) -> None:
    allowed = {"https://app.example.org"}
    for developing, expected in ((False, production), (True, development)):
        assert rules.redirect(wanted, HOME, allowed, developing) == (expected or wanted)


@given(st.lists(st.integers(0, 2 * 3600), max_size=12))
def test_an_address_gets_a_mail_a_minute_and_six_an_hour(seconds: list[int]) -> None:
    sent = [NOW]
    at = NOW
    for gap_s in seconds:
        at += timedelta(seconds=gap_s)
        if rules.mail_wait_s(sent, at) == 0:
            sent.insert(0, at)
        else:
            wait_s = rules.mail_wait_s(sent, at)
            assert rules.mail_wait_s(sent, at + timedelta(seconds=wait_s)) == 0
    for newer, older in pairwise(sent):
        assert newer - older >= rules.MAIL_GAP
    for n in range(len(sent) - rules.MAILS_MAX):
        assert sent[n] - sent[n + rules.MAILS_MAX] >= rules.MAILS_IN


@pytest.mark.parametrize(
    ("replaced_s", "idle", "verdict"),
    [
        (None, timedelta(days=1), "rotate"),
        (0, timedelta(), "repeat"),
        (rules.REUSE_S, timedelta(), "repeat"),
        (rules.REUSE_S + 1, timedelta(), "stolen"),
        (None, rules.SESSION_IDLE, "expired"),
        (5, rules.SESSION_IDLE, "expired"),
    ],
)
def test_a_refresh_token_is_exchanged_once(
    replaced_s: int | None, idle: timedelta, verdict: str
) -> None:
    replaced_at = None if replaced_s is None else NOW - timedelta(seconds=replaced_s)
    assert rules.exchange(replaced_at, NOW - idle, NOW) == verdict


def test_a_verifier_answers_its_own_challenge_alone() -> None:
    verifier, other = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    hashed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert rules.challenge(hashed, "S256") == (hashed, "s256")
    assert rules.answers(hashed, "s256", verifier)
    assert not rules.answers(hashed, "s256", other)
    assert not rules.answers(hashed, "s256", hashed)
    assert rules.answers(verifier, "plain", verifier)
    assert not rules.answers("short", "plain", "short")
    for half in (("x", None), (None, "s256"), ("x" * 42, "s256"), (hashed, "md5")):
        assert rules.challenge(*half) == "invalid"
    assert rules.challenge(None, None) is None


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("nonsense" * 20, ("nonsense" * 20)[:64]),
        ("", ""),
    ],
)
def test_one_customer_is_one_however_many_addresses_they_have(address: str, same: str) -> None:
    assert subscriber(address) == same


# -- teams -----------------------------------------------------------------------------------------


def row(member_id: str, email: str, role: str = "owner", state: str = "active") -> dict[str, Any]:
    return {"id": member_id, "email": email, "role": role, "state": state}


def test_an_address_is_invited_once() -> None:
    rows = [row("mem_1", "ada@example.com"), row("mem_2", "bob@example.com", "member", "invited")]
    made = members.invite(rows, "mem_3", "cleo@example.com", "member")
    assert made == e.MemberInvited(member_id="mem_3", email="cleo@example.com", role="member")
    assert members.invite(rows, "mem_3", "bob@example.com", "member") is None
    for email, role in (("ada@example.com", "owner"), ("bob@example.com", "owner")):
        with pytest.raises(Problem) as refused:
            members.invite(rows, "mem_3", email, role)  # type: ignore[arg-type]
        assert refused.value.code == "member_exists"
    with pytest.raises(Problem) as wrong:
        members.invite(rows, "mem_3", None, "member")
    assert wrong.value.errors[0]["pointer"] == "#/email"
    many = [row(f"mem_{n}", f"{n}@example.com") for n in range(members.MEMBERS_MAX)]
    with pytest.raises(Problem) as full:
        members.invite(many, "mem_x", "x@example.com", "member")
    assert full.value.code == "limit_reached"


def test_an_owner_who_is_only_invited_owns_nothing() -> None:
    rows = [row("mem_1", "ada@example.com"), row("mem_2", "bob@example.com", "owner", "invited")]
    for attempt in (
        lambda: members.remove(rows, "mem_1"),
        lambda: members.change(rows, "mem_1", "member"),
    ):
        with pytest.raises(Problem) as refused:
            attempt()
        assert refused.value.code == "last_owner"
    assert members.remove(rows, "mem_2") == e.MemberRemoved(member_id="mem_2")
    both = [row("mem_1", "ada@example.com"), row("mem_2", "bob@example.com")]
    assert members.change(both, "mem_1", "member") is not None
    assert members.change(both, "mem_1", "owner") is None


def test_only_a_later_sign_in_by_mail_accepts_an_invitation() -> None:
    later = NOW + timedelta(minutes=1)
    assert members.accepts(NOW, later, by_mail=True)
    assert not members.accepts(NOW, later, by_mail=False)
    assert not members.accepts(later, NOW, by_mail=True)
    assert members.begins_anew([], NOW)
    assert members.begins_anew([NOW], later)
    assert not members.begins_anew([NOW, later], NOW)


def test_what_happens_twice_to_a_member_happened_once() -> None:
    rows = Rows(PROJECTION.tables)
    member_id, user_id = ids.derive("mem", "x"), ids.derive("usr", "x")
    invited = e.MemberInvited(member_id=member_id, email="ada@example.com", role="member")
    joined = e.MemberJoined(
        member_id=member_id, user_id=user_id, email="ada@example.com", role="member"
    )
    story = [
        invited, invited, joined, invited, joined,
        e.MemberChanged(member_id=member_id, role="owner"), joined,
        e.MemberRemoved(member_id=member_id), e.MemberRemoved(member_id=member_id), joined,
        e.MemberChanged(member_id=member_id, role="member"),
    ]  # fmt: skip
    for seq, data in enumerate(story, 1):
        at = NOW + timedelta(seconds=seq)
        event = e.make(data, id=ids.new("evt"), workspace_id=WORKSPACE, at=at,
                       actor=e.Actor("system", "test"))  # fmt: skip
        apply(rows, seq, event)
        standing = rows.get(MEMBER, member_id)
        assert standing is not None
        assert standing.seq == seq  # what the team is guarded by moves with every event
    found = rows.get(MEMBER, member_id)
    assert found is not None
    assert (found.state, found.role) == ("removed", "owner")
    assert (found.joined_at, found.removed_at) == (
        NOW + timedelta(seconds=3), NOW + timedelta(seconds=8),
    )  # fmt: skip
    assert user_id in rows.hints


# -- at the door -----------------------------------------------------------------------------------


async def test_guessed_and_truncated_keys_are_refused_before_the_database() -> None:
    nothing: Any = None  # any look-up would fail on it
    callers = Callers(nothing, nothing, lambda: True)
    key = auth.new_api_key("live").text
    guesses = [
        key[:-1], key[:20], key + "x", key.replace("live", "test"), key.lower(),
        key[:-6] + "000000", "8ms_live_" + "0" * 38, "8ms_live_", "x" * 47,
        key[:9] + key[10:] + "0",
    ]  # fmt: skip
    for guess in guesses:
        with pytest.raises(Problem) as refused:
            await callers.identify(f"Bearer {guess}", NOW)
        assert (refused.value.status, refused.value.code) == (401, "invalid_api_key"), guess
    with pytest.raises(AttributeError):  # a key with the right checksum is looked up
        await callers.identify(f"Bearer {key}", NOW)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("Bearer a.b.c", "a.b.c"),
        ("bearer  a.b.c ", "a.b.c"),
        ("Basic a.b.c", None),
        ("Bearer a.b", None),
        ("Bearer a.b.c.d.e", None),
        pytest.param(f"Bearer {auth.new_api_key('live').text}", None, id="an API key"),
    ],
)
def test_what_looks_like_a_token_is_taken_for_one(header: str | None, token: str | None) -> None:
    assert access_token(header) == token
