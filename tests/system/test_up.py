"""`eightms up`, as a person runs it: the first text, the second start, what dies and comes back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio

from cli.embedded_process import die_with_parent
from cli.nats_permissions import SERVICES
from cli.stack import installed_services, is_running, read_private
from shared.vault import KeyRing

pytestmark = [pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0
GREETED = "Ctrl-C stops it"
KEY = re.compile(r"8ms_live_\w+")


def free_base() -> int:
    """A port that is free with the ones after it."""
    for base in range(20_000 + os.getpid() % 5_000, 32_000, len(SERVICES) + 1):
        probes: list[socket.socket] = []
        try:
            for n in range(7):  # one by one: what is open is closed when the next is taken
                probes.append(socket.create_server(("127.0.0.1", base + n)))  # noqa: PERF401
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return base
    raise AssertionError("no free ports")


def environment(**more: str) -> dict[str, str]:
    """A person's, without what would name other servers."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **more}


def eightms(*argv: str) -> list[str]:
    return [*die_with_parent(signal.SIGTERM), sys.executable, "-P", "-m", "cli", *argv]


class Up:
    """A running `eightms up` and what it said."""

    def __init__(self, data: Path, base: int, *argv: str, **env: str) -> None:
        self.data, self.base = data, base
        self._said = data.with_name(f"{data.name}.{time.monotonic_ns()}.said")
        command = eightms("up", "--data", str(data), "--port-base", str(base), *argv)
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env=environment(PYTHONPATH=str(ROOT), **env),
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Everything it printed so far."""
        return self._said.read_text()

    @property
    def key(self) -> str:
        """The API key it printed."""
        found = KEY.search(self.said)
        assert found is not None, self.said
        return found[0]

    async def greeted(self) -> None:
        """Returns when it has said that everything runs."""
        async with asyncio.timeout(PATIENCE_S):
            while GREETED not in self.said:
                assert self.process.poll() is None, self.said
                await asyncio.sleep(0.05)

    async def ended(self) -> int:
        """Its exit code."""
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    async def stop(self) -> int:
        """Ctrl-C, once."""
        self.process.send_signal(signal.SIGINT)
        return await self.ended()

    def children(self) -> dict[str, psutil.Process]:
        """Its services by name."""
        found: dict[str, psutil.Process] = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            module = [word for word in child.cmdline() if word.startswith("services.")]
            if module:
                found[module[0].removeprefix("services.")] = child
        return found

    async def run(self, *argv: str) -> tuple[int, str, str]:
        """Another command on the same data: exit code, output, what it said beside."""
        process = await asyncio.create_subprocess_exec(
            *eightms(*argv, "--data", str(self.data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=environment(PYTHONPATH=str(ROOT)),
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def call(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        """A request with the printed key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"http://127.0.0.1:{self.base}{path}"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url, json=body or None) as response,
        ):
            return response.status, await response.json()


async def eventually(holds: Callable[[], Awaitable[Any]]) -> Any:
    """What ``holds`` gives once it is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await holds()):
            await asyncio.sleep(0.05)
    return found


@asynccontextmanager
async def running(data: Path, base: int, *argv: str, **env: str) -> AsyncGenerator[Up, None]:
    """Up, greeted; stopped in the end."""
    up = Up(data, base, *argv, **env)
    try:
        await up.greeted()
        yield up
    finally:
        if up.process.poll() is None:
            await up.stop()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "data"


@pytest.fixture(scope="module")
def base() -> int:
    return free_base()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(data: Path, base: int) -> AsyncGenerator[Up, None]:
    """One that most tests share."""
    async with running(data, base) as one:
        yield one


@pytest.mark.asyncio(loop_scope="module")
async def test_the_printed_curl_sends_a_text_that_is_delivered(up: Up) -> None:
    lines = up.said.splitlines()
    at = next(n for n, line in enumerate(lines) if "curl -s" in line)
    curl = "\n".join(lines[at : at + 3])
    done = await asyncio.create_subprocess_shell(curl, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    message = json.loads(out)["message"]

    async def delivered() -> bool:
        _, found = await up.call("GET", f"/v1/messages/{message['id']}")
        return found["state"] == "delivered"

    await eventually(delivered)
    code, told, _ = await up.run("trace", message["id"])
    assert (code, "It is delivered." in told) == (0, True)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_printed_answer_is_obeyed(up: Up) -> None:
    line = next(line for line in up.said.splitlines() if "eightms phone receive" in line)
    _, _, _, phone_id, _, number, _, word = line.split()
    code, _, said = await up.run("phone", "receive", phone_id, "--from", number, "--body", word)
    assert (code, said) == (0, "")

    async def refused() -> bool:
        _, answer = await up.call("POST", "/v1/sms/send", to=number, body="again")
        return answer.get("code") == "recipient_opted_out"

    await eventually(refused)


@pytest.mark.asyncio(loop_scope="module")
async def test_every_service_runs_and_the_doctor_is_content(up: Up) -> None:
    assert set(up.children()) == set(installed_services())
    code, out, said = await up.run("doctor")
    assert (code, "Nothing needs you" in said) == (0, True), out
    code, out, _ = await up.run("verify", "--all")
    assert (code, out.count(": the same.")) == (0, len(installed_services()))
    code, out, _ = await up.run("parked", "list")
    assert (code, out) == (0, "Nothing is parked.\n")


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_secret_is_the_owners_alone(up: Up) -> None:
    for name in ("secret_key", "workspace.json", "stack.json", "credentials.json"):
        assert stat.S_IMODE((up.data / name).stat().st_mode) == 0o600, name
    for log in (up.data / "logs").iterdir():
        text = log.read_text()
        assert up.key not in text
        assert "Hello from my own phone" not in text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_service_comes_back_and_it_is_said(up: Up) -> None:
    before = up.children()["scheduler"]
    before.kill()

    async def back() -> bool:
        _, lag, _ = await up.run("lag", "--json")
        leaders = {one["service"]: one["leader"] for one in json.loads(lag)}
        return bool(leaders["scheduler"]) and str(before.pid) not in leaders["scheduler"]

    await eventually(back)
    assert "scheduler ended (SIGKILL), starting it again" in up.said


@pytest.mark.asyncio(loop_scope="module")
async def test_a_second_one_on_the_same_data_is_refused(up: Up) -> None:
    code, _, said = await up.run("up", "--port-base", str(free_base()))
    assert (code, f"process {up.process.pid}" in said) == (1, True)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_taken_port_is_named(up: Up, tmp_path: Path) -> None:
    other = Up(tmp_path / "other", up.base)
    assert await other.ended() == 1
    assert f"Port {up.base} " in other.said
    assert "Traceback" not in other.said


@pytest.mark.asyncio(loop_scope="module")
async def test_the_key_is_replaced_while_everything_runs(up: Up) -> None:
    _, made = await up.call(
        "POST", "/v1/webhooks", url="http://127.0.0.1:9/hook", types=["sms.sent"]
    )
    code, _, said = await up.run("keys", "rotate")
    assert (code, "encrypted under" in said) == (0, True)
    _, listed, _ = await up.run("keys", "list", "--json")
    newest, oldest = json.loads(listed)
    assert newest["secrets"] >= 1
    assert oldest["secrets"] == 0
    ring = KeyRing.parse((up.data / "secret_key").read_text().strip())
    assert ring.key_ids == (newest["id"], oldest["id"])
    code, _, _ = await up.run("doctor")  # the key that ids come from is the same one
    assert code == 0
    status, _ = await up.call("POST", f"/v1/webhooks/{made['id']}/rotate-secret")
    assert status in (200, 201)


@pytest.mark.asyncio(loop_scope="module")
async def test_more_phones_join_the_ones_that_run(up: Up) -> None:
    code, out, _ = await up.run("phone", "simulate", "--count", "2", "--label", "Extra")
    assert (code, out.count("paired phn_")) == (0, 2)
    _, phones = await up.call("GET", "/v1/phones")
    assert {p["label"] for p in phones["data"]} >= {"Simulated phone", "Extra", "Extra 2"}


async def test_a_second_start_finds_everything_as_it_was(tmp_path: Path) -> None:
    data, base = tmp_path / "data", free_base()
    async with running(data, base) as up:
        first = up.key
        _, sent = await up.call("POST", "/v1/sms/send", to="+14155550123", body="kept")
        assert await up.stop() == 0
        assert "Stopped." in up.said
    assert not is_running(data)
    async with running(data, base) as up:
        assert up.key == first
        status, found = await up.call("GET", f"/v1/messages/{sent['message']['id']}")
        assert (status, found["body"]) == (200, "kept")
        _, phones = await up.call("GET", "/v1/phones")
        assert len(phones["data"]) == 1


async def test_killed_it_takes_its_children_along_and_starts_again(tmp_path: Path) -> None:
    data, base = tmp_path / "data", free_base()
    async with running(data, base) as up:
        key = up.key
        family = psutil.Process(up.process.pid).children(recursive=True)
        up.process.kill()
        await up.ended()
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, PATIENCE_S)
        assert alive == []
    async with running(data, base) as up:
        assert up.key == key
        assert (await up.call("GET", "/v1/phones"))[0] == 200


async def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", free_base(), "--simulated-phones", "0")
    await up.greeted()
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE_S):
        while "Stopping" not in up.said:
            await asyncio.sleep(0.001)
    up.process.send_signal(signal.SIGINT)
    assert await up.ended() in (0, 1)  # 0: it was faster than the second one
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, PATIENCE_S)
    assert alive == []


async def test_ctrl_c_during_the_start_ends_it_cleanly(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", free_base())
    async with asyncio.timeout(PATIENCE_S):
        while not is_running(up.data):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert await up.stop() == 0
    assert "Traceback" not in up.said


async def test_a_lost_key_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    data, base = tmp_path / "data", free_base()
    async with running(data, base, "--only", "scheduler") as up:
        await up.stop()
    (data / "secret_key").write_text(KeyRing.generate_key())
    up = Up(data, base, "--only", "scheduler")
    assert await up.ended() == 1
    assert "not the one this log began with" in up.said
    (data / "secret_key").unlink()
    up = Up(data, base, "--only", "scheduler")
    assert await up.ended() == 1
    assert "is gone" in up.said


async def test_a_database_of_ones_own_goes_with_the_embedded_nats(
    tmp_path: Path, database_url: str
) -> None:
    data = tmp_path / "data"
    async with running(
        data, free_base(), "--only", "api,scheduler", DATABASE_URL=database_url
    ) as up:
        assert not (data / "postgres").exists()
        assert read_private(data / "stack.json")["database_url"] == database_url
        assert (await up.call("GET", "/v1/workspace"))[0] == 200


async def test_a_nats_of_ones_own_goes_with_the_embedded_database(
    tmp_path: Path, nats_url: str, nats_urls: dict[str, str]
) -> None:
    passwords = {
        f"NATS_{user.upper()}_PASSWORD": url.split(":")[2].split("@")[0]
        for user, url in nats_urls.items()
    }
    data = tmp_path / "data"
    async with running(
        data, free_base(), "--only", "api,scheduler", NATS_URL=nats_url, **passwords
    ) as up:
        assert not (data / "nats").exists()
        assert "(production)" in up.said
        assert (await up.call("GET", "/v1/workspace"))[0] == 200


async def test_commands_work_on_a_stack_that_is_stopped(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data, free_base(), "--only", "api,scheduler") as up:
        await up.stop()
        code, out, said = await up.run("events", "export")
        assert (code, len(out.splitlines())) == (0, 3)
        assert "started for this command" in said
        code, out, _ = await up.run("verify", "scheduler")
        assert (code, "the same" in out) == (0, True)
