"""A server is away, a wire is cut, a wire is dead and nobody says so: what callers see meanwhile,
and that all is as if nothing had been when it is back. No service is restarted in any of these."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from clients.simphone import Carrier, SimHost
from tests.stack import NO_ANSWER, Answer, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PHONES = 4
PATIENCE_S = 90.0  # a bound for what takes as long as pings and statements' timeouts take
BOUNDED_S = 40.0  # no request may hang longer than this, whatever is dead behind it


async def begun(stack: Stack) -> None:
    """A workspace whose phones work."""
    await stack.new_workspace()
    await stack.pair(PHONES)
    await delivered(stack, (await stack.send("+14155550000", "before"))["id"])


async def delivered(stack: Stack, *message_ids: str, timeout_s: float = PATIENCE_S) -> None:
    def done() -> bool:
        return set(message_ids) <= {e.data.message_id for e in stack.events("sms.delivered")}

    await stack.until("they are delivered", done, timeout_s)


def counted_once(stack: Stack) -> None:
    """Every message asked for went out once, and no service was started again or complained."""
    asked = Counter(e.data.message_id for e in stack.events("send.requested"))
    calls = Counter(m for (m,) in stack.phones_db("SELECT message_id FROM radio"))
    assert calls == asked == dict.fromkeys(asked, 1), stack.report()
    assert [stack.programs[name].starts for name in stack.ports] == [1] * len(stack.ports)
    assert stack.complaints() == []


async def nothing_lost(stack: Stack, accepted: list[str]) -> None:
    """What was accepted is in the log, and everything in the log went out once."""
    assert len(set(accepted)) == len(accepted) > 0
    await stack.until("the log is read", lambda: requested(stack) >= set(accepted))
    await delivered(stack, *requested(stack))
    counted_once(stack)


def requested(stack: Stack) -> set[str]:
    return {event.data.message_id for event in stack.events("send.requested")}


def body_of(n: int) -> dict[str, str]:
    return {"to": f"+1415555{1000 + n}", "body": f"number {n}"}


async def insist(stack: Stack, n: int) -> Answer:
    """Request ``n`` with its key, again and again until it is accepted."""
    while (answer := await ask(stack, n)) is None:
        await asyncio.sleep(0.2)  # its first try died with its key; after a minute it is free
    return answer


async def ask(stack: Stack, n: int) -> Answer | None:
    """Request ``n`` with its key, again while storage is away; None if it is said to be running."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = await stack.api("POST", "/v1/sms/send", body_of(n), idempotency_key=f"key-{n}")
        except NO_ANSWER:
            answer = None
        if answer is not None and answer.status != 503:
            assert answer.status in (202, 409), (answer.status, answer.body)
            return answer if answer.status == 202 else None
        assert time.monotonic() < deadline, stack.report()
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_without_a_server_nothing_is_accepted_and_all_recovers(
    tmp_path: Path, server: str
) -> None:
    async with Stack(tmp_path) as stack:
        await begun(stack)
        stack.take_down(server)
        for n in range(5):
            answer = await stack.api("POST", "/v1/sms/send", body_of(n), idempotency_key=f"key-{n}")
            assert answer.status == 503, (answer.status, answer.body)
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.body["code"] == "unavailable"
        await stack.receive(stack.phones[0], "+14155559999", "anybody there?")
        await stack.bring_up(server)
        requested = {event.data.to for _, event in await stack.whole_log()
                     if event.type == "send.requested"}  # fmt: skip
        assert requested == {"+14155550000"}
        accepted = [(await insist(stack, n)).body["message"]["id"] for n in range(5)]
        await delivered(stack, *accepted)
        await stack.until("the text is there", lambda: stack.count["reply.received"] == 1)
        counted_once(stack)
        await stack.verify()


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_connections_reset_again_and_again_lose_nothing(tmp_path: Path, server: str) -> None:
    async with Stack(tmp_path, wires=("nats", "postgres")) as stack:
        await begun(stack)
        sending = asyncio.gather(*(ask(stack, n) for n in range(60)))
        for _ in range(8):
            await asyncio.sleep(0.15)
            stack.wires[server].cut()
            await asyncio.sleep(0.05)
            stack.wires[server].heal()
        answers = [answer for answer in await sending if answer is not None]
        await nothing_lost(stack, [answer.body["message"]["id"] for answer in answers])
        await stack.verify()


async def test_a_database_that_crashes_under_requests_forgets_and_repeats_none(
    tmp_path: Path,
) -> None:
    """What PostgreSQL loses of its last moments, rows and which keys were used, is in the log."""
    rounds, at_once = 6, 25
    async with Stack(tmp_path) as stack:
        await begun(stack)
        accepted: list[str] = []
        for n in range(rounds):
            asked = asyncio.gather(*(ask(stack, at_once * n + k) for k in range(at_once)))
            await asyncio.sleep(0.01 + 0.01 * n)
            stack.kill("postgres")
            answers = [answer for answer in await asked if answer is not None]
            accepted += [answer.body["message"]["id"] for answer in answers]
            await stack.all_ready()
        await nothing_lost(stack, accepted)
        await stack.verify()


async def test_dead_wires_are_noticed_and_given_up(tmp_path: Path) -> None:
    """The connections of every service carry nothing any more and nobody closes them; new ones
    work. Requests meanwhile end within a bound, and the services find their way by themselves."""
    async with Stack(tmp_path, wires=("nats", "postgres")) as stack:
        await begun(stack)
        for server in ("nats", "postgres"):
            stack.wires[server].strand()
        try:
            answer = await stack.api(
                "POST", "/v1/sms/send", body_of(0), idempotency_key="key-0", timeout_s=BOUNDED_S
            )
        except TimeoutError:
            pytest.fail(f"a request hung for {BOUNDED_S:g} s\n{stack.report()}")
        assert answer.status in (202, 503), (answer.status, answer.body)
        accepted = [(await insist(stack, n)).body["message"]["id"] for n in range(3)]
        await delivered(stack, *accepted)
        counted_once(stack)
        await stack.verify()


async def test_a_slow_wire_is_slow_and_nothing_else(tmp_path: Path) -> None:
    async with Stack(tmp_path, wires=("nats", "gateway")) as stack:
        await begun(stack)
        for wire in stack.wires.values():
            wire.slow(0.02)
        accepted = [(await insist(stack, n)).body["message"]["id"] for n in range(5)]
        await delivered(stack, *accepted)
        for wire in stack.wires.values():
            wire.heal()
        counted_once(stack)
        await stack.verify()


async def test_phones_whose_connections_are_cut_or_dead_get_every_text_once(
    tmp_path: Path,
) -> None:
    async with Stack(tmp_path, wires=("gateway",), env={"EIGHTMS_GATEWAY_PING_S": "0.5"}) as stack:
        host = SimHost(
            stack.simphone_dir, carrier=Carrier(delay_ms=5), fsync=False, read_timeout_s=3.0
        )
        await host.start()
        try:
            stack.phones_are_elsewhere = True
            await begun(stack)
            wire = stack.wires["gateway"]
            accepted: list[str] = []
            for n, fault in enumerate((wire.cut, wire.freeze, wire.strand, wire.cut, wire.strand)):
                sending = asyncio.gather(*(insist(stack, 10 * n + k) for k in range(10)))
                await asyncio.sleep(0.02)
                fault()
                accepted += [answer.body["message"]["id"] for answer in await sending]
                await asyncio.sleep(0.3)
                wire.heal()
            await delivered(stack, *accepted)
            counted_once(stack)
        finally:
            await host.stop()
        await stack.verify()
