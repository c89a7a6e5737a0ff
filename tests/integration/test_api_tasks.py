"""Long tasks: they end, go on after a crash with nothing twice, and can be taken back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.api import serve
from services.api.api import Api
from services.api.operation import Call
from services.api.routes import tasks as routes
from services.api.tasks import clerk, desk
from services.api.tasks.files import CHUNK_BYTES
from services.api.tasks.job import Job, Kind, TaskFailed
from shared import events as e
from shared import ids
from shared.errors import LogUnavailable
from tests.api import Answer, ApiWorld

Run = Callable[[Job], Awaitable[None]]


class Work:
    """A kind of task whose run a test gives, and how often it was run."""

    def __init__(self) -> None:
        self.run: Run = self._nothing
        self.runs = 0

    async def _nothing(self, job: Job) -> None:
        pass

    async def __call__(self, job: Job) -> None:
        self.runs += 1
        await self.run(job)


@pytest_asyncio.fixture
async def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    kind = Kind("test.work", "contacts:read", work, "work-{id}.txt", "text/plain")
    for module in (serve, routes):
        monkeypatch.setattr(module, "KINDS", {kind.name: kind})
    monkeypatch.setattr(clerk, "AGAIN_S", 0.01)
    monkeypatch.setattr(clerk, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(clerk, "STARTS_MAX", 2)
    return work


@pytest_asyncio.fixture
async def world(work: Work, database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as world:
        yield world


async def opened(world: ApiWorld, upload: str | None = None, **asked: Any) -> str:
    """A task of the test's kind, as a route would open it."""
    api: Api = world.instances[0].context.extra[serve.API]
    caller = await api.callers.identify(f"Bearer {world.home.key}", world.clock.now())
    now = world.clock.now()
    call = Call(api, routes.OPERATIONS[0], caller, {}, None, None, ids.new("req"), now)
    reply = await api.tasks.open(call, serve.KINDS["test.work"], asked, upload=upload)
    assert reply.headers == {"Location": f"/v1/tasks/{reply.data.id}"}
    return reply.data.id


async def ended(world: ApiWorld, task_id: str) -> Any:
    async def look() -> Any:
        shown = (await world.get(f"/v1/tasks/{task_id}")).body
        return shown if shown["finished_at"] else None

    return await world.until(look, "the task has ended")


async def test_a_task_tells_how_far_it_is_and_leaves_its_file(world: ApiWorld, work: Work) -> None:
    half, go_on = asyncio.Event(), asyncio.Event()
    content = bytes(range(256)) * (CHUNK_BYTES // 256) + b"rest"

    async def run(job: Job) -> None:
        job.done, job.total = 1, 2
        job.write(content)
        await job.save()
        half.set()
        await go_on.wait()
        job.done, job.summary["greeting"] = 2, job.asked["greeting"]
        job.write(b" and end")

    work.run = run
    task_id = await opened(world, greeting="hello")
    await half.wait()
    shown = (await world.get(f"/v1/tasks/{task_id}")).body
    assert (shown["status"], shown["done"], shown["total"]) == ("running", 1, 2)
    assert shown["result_url"] is None
    early = await world.get(f"/v1/tasks/{task_id}/result")
    assert (early.status, early.code) == (404, "no_result")
    go_on.set()
    shown = await ended(world, task_id)
    assert (shown["status"], shown["done"], shown["summary"]) == ("done", 2, {"greeting": "hello"})
    assert await downloaded(world, shown["result_url"]) == content + b" and end"
    listed = (await world.get("/v1/tasks")).body["data"]
    assert [task["id"] for task in listed] == [task_id]


async def downloaded(world: ApiWorld, url: str) -> bytes:
    headers = {"Authorization": f"Bearer {world.home.key}"}
    async with world.http.get(world.instances[0].url + url, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain"
        name = response.headers["Content-Disposition"]
        assert name.startswith('attachment; filename="work-tsk_')
        assert response.headers["X-Request-Id"].startswith("req_")
        return await response.read()


async def test_a_task_that_broke_off_goes_on_from_where_it_saved(
    world: ApiWorld, work: Work
) -> None:
    async def run(job: Job) -> None:
        for n in range(job.state or 0, 6):
            saved = e.ContactSaved(contact_id=ids.derive("con", str(n)), number=f"+1415555010{n}")
            await job.api.log.append(job.event(saved, str(n)))
            job.write(f"{n} ".encode())
            if n % 2 == work.runs % 2 and work.runs < 4:
                raise LogUnavailable("between what it did and its save")
            job.state, job.done = n + 1, n + 1
            await job.save()

    work.run = run
    shown = await ended(world, await opened(world))
    assert (shown["status"], shown["done"]) == ("done", 6)
    assert work.runs == 4
    assert await downloaded(world, shown["result_url"]) == b"0 1 2 3 4 5 "
    assert len(await world.events("contact.saved")) == 6


async def test_a_task_that_never_gets_on_is_given_up(world: ApiWorld, work: Work) -> None:
    async def run(job: Job) -> None:
        raise RuntimeError("always")

    work.run = run
    shown = await ended(world, await opened(world))
    assert (shown["status"], shown["errors"][0]["code"]) == ("failed", "internal_error")
    assert work.runs == clerk.STARTS_MAX == 2


async def test_what_a_person_can_mend_ends_it_with_a_word(world: ApiWorld, work: Work) -> None:
    async def run(job: Job) -> None:
        job.error("invalid_number", "This is no number.", row=3, field="phone")
        raise TaskFailed("no_columns", "The file has no column of numbers.")

    work.run = run
    shown = await ended(world, await opened(world))
    assert (shown["status"], shown["errors_total"], work.runs) == ("failed", 2, 1)
    row, whole = shown["errors"]
    assert (row["row"], row["field"], row["code"]) == (3, "phone", "invalid_number")
    assert (whole["code"], "row" in whole) == ("no_columns", False)


async def test_a_cancelled_task_does_nothing_more(world: ApiWorld, work: Work) -> None:
    under_way, go_on = asyncio.Event(), asyncio.Event()
    got_on: list[str] = []

    async def run(job: Job) -> None:
        under_way.set()
        await go_on.wait()
        await job.save()
        got_on.append(job.id)

    work.run = run
    upload = await uploaded(world, b"content")
    task_id = await opened(world, upload)
    await under_way.wait()
    cancelled = await world.post(f"/v1/tasks/{task_id}/cancel")
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    assert (await world.post(f"/v1/tasks/{task_id}/cancel")).body["status"] == "cancelled"
    assert not await world.rows("SELECT FROM vault_file")
    go_on.set()
    follower = await opened(world)  # runs when the first one has let go
    await ended(world, follower)
    assert got_on == [follower]


async def uploaded(world: ApiWorld, content: bytes) -> str:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    api: Api = world.instances[0].context.extra[serve.API]
    return (await api.files.receive(world.home.id, pieces(), "x", len(content))).id


async def test_the_save_of_an_older_run_is_refused(world: ApiWorld, work: Work) -> None:
    runs: list[Job] = []
    taken_over = asyncio.Event()

    async def run(job: Job) -> None:
        runs.append(job)
        if len(runs) == 1:
            await world.rows("UPDATE vault_task SET token = 'another' RETURNING 1")
            taken_over.set()
        await job.save()

    work.run = run
    task_id = await opened(world)
    await taken_over.wait()
    shown = await ended(world, task_id)
    assert (shown["status"], len(runs)) == ("done", 2)


async def test_a_task_reads_its_file_whole_and_the_file_goes_with_the_end(
    world: ApiWorld, work: Work
) -> None:
    content = b"0123456789abcdef" * (CHUNK_BYTES // 8)
    found = bytearray()

    async def run(job: Job) -> None:
        async for piece in job.upload():
            found.extend(piece)

    work.run = run
    shown = await ended(world, await opened(world, await uploaded(world, content)))
    assert (shown["status"], shown["result_url"]) == ("done", None)
    assert found == content
    assert not await world.rows("SELECT FROM vault_file")
    assert not await world.rows("SELECT FROM vault_file_chunk")


async def test_tasks_are_shown_to_their_workspace_and_to_keys_that_may_see_their_matter(
    world: ApiWorld, work: Work
) -> None:
    task_id = await opened(world)
    await ended(world, task_id)
    for path in (f"/v1/tasks/{task_id}", f"/v1/tasks/{task_id}/result"):
        assert (await world.get(path, key=world.other.key)).status == 404
    key, _ = await world.new_key(world.home.id, "messages:read")
    refused: Answer = await world.get(f"/v1/tasks/{task_id}", key=key)
    assert (refused.status, refused.code) == (403, "missing_scope")
    assert refused.body["required_scope"] == "contacts:read"
    assert (await world.get("/v1/tasks", key=world.other.key)).body["data"] == []


async def test_a_workspace_opens_so_many_tasks_and_no_more(
    world: ApiWorld, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(job: Job) -> None:
        await asyncio.Event().wait()

    work.run = run
    monkeypatch.setattr(desk, "OPEN_MAX", 1)
    await opened(world)
    with pytest.raises(Exception, match="too_many_tasks"):
        await opened(world)


async def test_ended_tasks_and_their_files_are_forgotten_in_time(
    world: ApiWorld, work: Work
) -> None:
    async def run(job: Job) -> None:
        job.write(b"result")

    work.run = run
    task_id = await opened(world)
    await ended(world, task_id)
    world.clock.ahead = timedelta(days=8)
    sweeper = serve.actors(world.instances[0].context)[0]
    await sweeper.step()
    assert (await world.get(f"/v1/tasks/{task_id}")).status == 404
    assert not await world.rows("SELECT FROM vault_file")
