"""The frame as a process: comes up alone, says what it waits for, recovers, drains."""

import asyncio
import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.embedded import NatsServer, PostgresServer, free_port
from shared.bus import Bus
from shared.log import Log
from tests.conftest import new_nats, new_postgres
from tests.programs import ROOT
from tests.tiny import WORKSPACE, Tiny, note, until


async def test_it_starts_without_its_servers_says_so_and_recovers(tmp_path: Path) -> None:
    postgres, nats = new_postgres(tmp_path / "pg"), new_nats(tmp_path / "nats")
    async with Tiny(tmp_path, postgres.url(), nats.url()) as tiny:
        try:
            await _until_says(tiny, "waiting for PostgreSQL")
            assert await tiny.get("/healthz") == (200, {"ok": True})
            async with tiny.http.get(f"{tiny.url}/notes?workspace={WORKSPACE}") as response:
                assert response.status == 503
                assert response.headers["Retry-After"] == "1"
                assert response.content_type == "application/problem+json"
                problem = await response.json()
            assert problem["code"] == "unavailable"
            assert "waiting for PostgreSQL" in problem["detail"]
            async with tiny.http.post(f"{tiny.url}/echo", data=b"x" * 100_000) as response:
                assert response.status == 503
            async with tiny.http.get(f"{tiny.url}/metrics") as response:
                assert response.status == 200
            await postgres.start()
            await _until_says(tiny, "waiting for NATS")
            await nats.start()
            log = await Log.connect(nats.url(), "test")
            await log.ensure_stream()
            await log.append(note())
            await tiny.until_notes(1)
            await tiny.until_ready()
            assert "waiting for PostgreSQL" in tiny.program.log()
            assert "waiting for NATS" in tiny.program.log()
            await log.close()
            assert await tiny.program.stop() == 0
        finally:
            await nats.stop()
            await postgres.stop()


async def _until_says(tiny: Tiny, why: str) -> None:
    async def says() -> bool:
        state = await tiny.ready()
        return state.get("ready") is False and state["why"] == why

    await until(f"it says {why}\n{tiny.program.tail()}", says)


async def test_it_stops_at_once_while_it_still_waits(tmp_path: Path) -> None:
    async with Tiny(tmp_path, "postgresql://x@127.0.0.1:1/x", "nats://127.0.0.1:1") as tiny:
        await _until_says(tiny, "waiting for PostgreSQL")
        assert await tiny.program.stop() == 0


async def test_a_stopping_service_ends_the_requests_under_way(
    tmp_path: Path, database_url: str, nats_server: NatsServer
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    async with Tiny(tmp_path, database_url, nats_server.url()) as tiny:
        await tiny.until_ready()
        slow = [asyncio.create_task(tiny.get("/slow?seconds=1.5")) for _ in range(5)]
        await asyncio.sleep(0.5)  # they are under way
        code = await tiny.program.stop()
        assert [await answer for answer in slow] == [(200, {"slept": True})] * 5
        assert code == 0
        assert "draining" in tiny.program.log()
        assert '"stopped"' in tiny.program.log()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", tiny.port), timeout=1).close()
    await log.close()


async def test_it_survives_nats_and_postgresql_going_away(
    tmp_path: Path, nats_server: NatsServer, postgres_server: PostgresServer
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    async with Tiny(tmp_path, postgres_server.url(), nats_server.url()) as tiny:
        await tiny.until_ready()
        await log.append(note(1))
        await tiny.until_notes(1)
        nats_server.kill()
        await _until_says(tiny, "no connection to NATS")
        await nats_server.start()
        await tiny.until_leading()
        await until("the test is connected", lambda: log.connected)
        await log.append(note(2))
        await tiny.until_notes(2)
        postgres_server.kill()
        status, problem = await tiny.get(f"/notes?workspace={WORKSPACE}")
        assert (status, problem["code"]) == (503, "unavailable")
        await log.append(note(3))
        await postgres_server.start()
        await tiny.until_leading()
        await tiny.until_notes(3)
        assert tiny.program.alive
        assert await tiny.program.stop() == 0
    await log.close()


async def test_failures_become_problems_and_metrics(
    tmp_path: Path, database_url: str, nats_server: NatsServer
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    async with Tiny(tmp_path, database_url, nats_server.url()) as tiny:
        await tiny.until_ready()
        status, problem = await tiny.get("/fail")
        assert (status, problem["code"]) == (500, "internal_error")
        assert "not told" not in str(problem)
        async with tiny.http.get(f"{tiny.url}/unstored") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
        status, problem = await tiny.get("/nowhere")
        assert (status, problem["code"]) == (404, "not_found")
        async with tiny.http.get(f"{tiny.url}/echo") as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")
        async with tiny.http.post(
            f"{tiny.url}/echo", data=io.BytesIO(b"x" * 1_100_000)
        ) as response:
            assert response.status == 413
            assert (await response.json())["code"] == "body_too_large"
        async with tiny.http.post(f"{tiny.url}/echo", data="x") as response:
            assert response.status == 415
        async with tiny.http.get(f"{tiny.url}/metrics") as response:
            text = await response.text()
        assert 'eightms_http_requests_total{service="tiny",route="/fail",status="500"} 1' in text

        async def leads() -> bool:
            async with tiny.http.get(f"{tiny.url}/metrics") as response:
                return 'eightms_leading{service="tiny"} 1' in await response.text()

        await until("it leads", leads)
        ids_ = set[str]()
        for _ in range(3):
            async with tiny.http.get(f"{tiny.url}/nowhere") as response:
                ids_.add(response.headers["X-Request-Id"])
                assert (await response.json())["request_id"] == response.headers["X-Request-Id"]
        assert len(ids_) == 3
    await log.close()


async def test_a_question_is_answered_by_whichever_instance_has_it(
    tmp_path: Path, database_url: str, nats_server: NatsServer
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    url = nats_server.url()
    async with (
        Tiny(tmp_path, database_url, url) as tiny,
        Tiny(tmp_path, database_url, url, "second") as second,
    ):
        await tiny.until_ready()
        await second.until_ready()
        await log.append(note())
        await tiny.until_notes(1)
        bus = Bus(log)
        answers = [await bus.ask("tiny", "count", {"workspace_id": WORKSPACE}) for _ in range(20)]
        assert answers == [{"notes": 1}] * 20
    await log.close()


def test_help_tells_every_setting_and_a_wrong_one_is_named() -> None:
    command = [sys.executable, "-m", "tests.fakes.tiny"]
    told = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for variable in ("DATABASE_URL", "NATS_URL", "EIGHTMS_SECRET_KEY", "EIGHTMS_PORT"):
        assert variable in told.stdout
    env = {"PATH": "/usr/bin", "NATS_URL": "nats://x", "DATABASE_URL": "postgresql://x"}
    refused = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=env, check=False
    )
    assert refused.returncode == 1
    assert "EIGHTMS_SECRET_KEY is not set" in refused.stderr


async def test_a_taken_port_is_named_and_ends_the_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = str(taken.getsockname()[1])
        url = "postgresql://x@127.0.0.1:1/x"
        async with Tiny(tmp_path, url, "nats://127.0.0.1:1", EIGHTMS_PORT=port) as tiny:
            await until("it ended", lambda: not tiny.program.alive)
            assert f"cannot listen on 127.0.0.1:{port}" in tiny.program.log()


async def test_an_idle_service_stays_fresh_and_rests(
    tmp_path: Path, database_url: str, nats_server: NatsServer
) -> None:
    """Rows that nothing changes are as fresh as the log; a leader and a standby know it."""
    import psutil

    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    url = nats_server.url()
    async with Tiny(tmp_path, database_url, url) as tiny:
        await tiny.until_leading()
        async with Tiny(tmp_path, database_url, url, "standby") as standby:
            await standby.until_ready()
            for one in (tiny, standby):

                async def fresh(one: Tiny = one) -> bool:
                    _, answer = await one.get(f"/notes?workspace={WORKSPACE}")
                    return bool(answer.get("fresh"))

                await until(f"{one.program.name} is fresh", fresh)
            process = psutil.Process(tiny.program._child.pid)  # type: ignore[union-attr]
            before = process.cpu_times()
            await asyncio.sleep(5)
            after = process.cpu_times()
            used_s = after.user + after.system - before.user - before.system
            assert used_s < 0.25, f"{used_s:.2f} s of 5 while idle"
    await log.close()
