"""Wake-ups, questions and presence on a real server: bounded in time, and never in the way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from shared import bus as bus_module
from shared.bus import Bus, Wake
from shared.errors import NoAnswer, NotReady, Refused
from shared.log import Log
from shared.problems import Problem
from tests.tiny import until


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    made = await Log.connect(nats_url, "test")
    yield made
    await made.close()


@pytest.fixture
def bus(log: Log) -> Bus:
    return Bus(log)


@pytest_asyncio.fixture
async def other(nats_url: str) -> AsyncIterator[Bus]:
    """Another process: nobody hears what he says himself."""
    made = await Log.connect(nats_url, "other")
    yield Bus(made)
    await made.close()


async def heard_by_the_server(bus: Bus) -> None:
    """A subscription counts when the server has it; a ping must not overtake it."""
    nc = bus._log.nc
    await until("it is written", lambda: not nc._pending)
    await nc.flush()


async def test_who_listens_hears_what_was_committed(bus: Bus, other: Bus) -> None:
    heard: list[Wake] = []
    await bus.on_wake("api", heard.append)
    await bus.on_wake("gateway", heard.append)
    await heard_by_the_server(bus)
    await other.announce("api", 7, {"b", "a"}, 3)
    await other.announce("api", 8, {str(n) for n in range(bus_module.HINTS_MAX + 1)})
    await other.announce("inbound", 9, set())
    await until("two are heard", lambda: len(heard) >= 2)
    assert heard == [Wake(7, ["a", "b"], 3), Wake(8, ["*"], 0)]


async def test_a_question_gets_its_answer(bus: Bus, other: Bus) -> None:
    async def double(body: dict[str, Any]) -> Any:
        return {"twice": body["n"] * 2, "text": "ü"}

    await bus.answer("api", "double", double)
    await heard_by_the_server(bus)
    answers = await asyncio.gather(*(other.ask("api", "double", {"n": n}) for n in range(100)))
    assert [one["twice"] for one in answers] == list(range(0, 200, 2))


async def test_a_slow_answer_does_not_hold_up_a_quick_one(bus: Bus, other: Bus) -> None:
    release = asyncio.Event()

    async def wait(body: dict[str, Any]) -> Any:
        if body["wait"]:
            await release.wait()
        return body

    await bus.answer("api", "wait", wait)
    await heard_by_the_server(bus)
    slow = asyncio.create_task(other.ask("api", "wait", {"wait": True}, timeout_s=60))
    assert await other.ask("api", "wait", {"wait": False}, timeout_s=60) == {"wait": False}
    assert not slow.done()
    release.set()
    assert await slow == {"wait": True}


async def test_one_of_several_instances_answers(other: Bus, nats_url: str) -> None:
    asked: list[int] = []
    logs = [await Log.connect(nats_url, "test") for _ in range(3)]
    for n, log in enumerate(logs):

        async def answer(_: dict[str, Any], n: int = n) -> Any:
            asked.append(n)
            return n

        await Bus(log).answer("api", "who", answer)
        await log.nc.flush()
    for _ in range(60):
        await other.ask("api", "who", {})
    assert len(asked) == 60
    assert set(asked) == {0, 1, 2}
    for log in logs:
        await log.close()


async def test_a_problem_is_passed_on_whole(bus: Bus, other: Bus) -> None:
    async def refuse(_: dict[str, Any]) -> Any:
        raise Problem(404, "not_found", "There is no such message.", hint="look elsewhere")

    await bus.answer("api", "refuse", refuse)
    await heard_by_the_server(bus)
    with pytest.raises(Refused) as refused:
        await other.ask("api", "refuse", {})
    problem = Problem.from_document(refused.value.problem)
    assert (problem.status, problem.code) == (404, "not_found")
    assert problem.extra == {"hint": "look elsewhere"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotReady("behind"), 503),
        (asyncpg.ConnectionDoesNotExistError("gone"), 503),
        (TimeoutError(), 503),
        (RuntimeError("secret detail"), 500),
        (KeyError("to"), 500),
    ],
)
async def test_a_failure_is_an_answer_too_and_tells_nothing(
    bus: Bus, other: Bus, error: Exception, status: int
) -> None:
    async def fail(_: dict[str, Any]) -> Any:
        raise error

    await bus.answer("api", "fail", fail)
    await heard_by_the_server(bus)
    with pytest.raises(Refused) as refused:
        await other.ask("api", "fail", {})
    assert refused.value.problem["status"] == status
    assert "secret" not in str(refused.value.problem)


async def test_nobody_there_is_no_answer_at_once(bus: Bus) -> None:
    with pytest.raises(NoAnswer):
        await bus.ask("nobody", "anything", {}, timeout_s=60)


async def test_a_question_ends_in_time(bus: Bus, other: Bus) -> None:
    async def never(_: dict[str, Any]) -> Any:
        await asyncio.Event().wait()

    await bus.answer("api", "never", never)
    await heard_by_the_server(bus)
    with pytest.raises(NoAnswer):
        await other.ask("api", "never", {}, timeout_s=0.1)


async def test_without_a_connection_nothing_hangs(nats_server: NatsServer) -> None:
    log = await Log.connect(nats_server.url(), "test")
    bus = Bus(log)
    nats_server.kill()
    await until("the loss is noticed", lambda: not log.connected)
    await bus.announce("api", 1, {"a"})
    await bus.put_presence("phn_1", {})
    assert await bus.presence("phn_1") is None
    with pytest.raises(NoAnswer):
        await bus.ask("api", "anything", {}, timeout_s=0.2)
    await log.close()


async def test_listeners_and_answers_survive_a_restart_of_nats(
    other: Bus, nats_server: NatsServer
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    bus = Bus(log)
    heard: list[Wake] = []

    async def echo(body: dict[str, Any]) -> Any:
        return body

    await bus.on_wake("api", heard.append)
    await bus.answer("api", "echo", echo)
    await heard_by_the_server(bus)
    nats_server.kill()
    await nats_server.start()
    await until("it is connected", lambda: log.connected)
    await other.announce("api", 1, set())

    async def answered() -> bool:
        try:
            return await other.ask("api", "echo", {"n": 1}) == {"n": 1}
        except NoAnswer:  # it is not back itself
            return False

    await until("it is answered", answered)
    await other.announce("api", 1, set())
    await until("it is heard", lambda: heard)
    await log.close()


async def test_presence_is_the_newest_sign_of_life(bus: Bus) -> None:
    assert await bus.presence("phn_1") is None  # there is no bucket yet
    await bus.ensure_presence()
    await bus.ensure_presence()
    assert await bus.presence("phn_1") is None
    for n in range(5):
        await bus.put_presence("phn_1", {"state": "online", "n": n})

    async def newest() -> bool:
        return await bus.presence("phn_1") == {"state": "online", "n": 4}

    await until("it is stored", newest)
