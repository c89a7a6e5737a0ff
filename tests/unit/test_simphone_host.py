"""A host of simulated phones on its own: its state folder, its command, its control interface."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clients.simphone import (
    GatewayUnreachable,
    SimHost,
    StateDirUnusable,
    UnknownPhone,
    control,
)
from clients.simphone.entry import main


@contextlib.asynccontextmanager
async def hosting(state_dir: Path, **options: Any) -> AsyncIterator[SimHost]:
    host = SimHost(state_dir, **options)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


def devices(state_dir: Path) -> int:
    db = sqlite3.connect(state_dir / "phones.db")
    try:
        return db.execute("SELECT count(*) FROM device").fetchone()[0]
    finally:
        db.close()


async def test_no_gateway_is_said_after_a_few_tries(tmp_path: Path):
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with hosting(tmp_path, pause=pause) as host:
        with pytest.raises(GatewayUnreachable):
            await host.pair("eightms://pair?e=http%3A%2F%2F127.0.0.1%3A1&t=x")
        assert len(pauses) == 4
        with pytest.raises(GatewayUnreachable):
            await host.pair("eightms://pair?e=http%3A%2F%2F127.0.0.1%3A1&t=x")
    assert devices(tmp_path) == 1  # the handset waits for a pairing that works


async def test_a_folder_that_cannot_be_used_is_said_and_let_go(tmp_path: Path):
    (tmp_path / "phones.db").write_bytes(b"this is no database, it is a letter to my aunt" * 50)
    for _ in range(2):
        with pytest.raises(StateDirUnusable, match="not a database"):
            await SimHost(tmp_path).start()


async def test_a_folder_deep_down_has_its_control_socket_elsewhere(tmp_path: Path):
    deep = tmp_path / ("x" * 120)
    host = SimHost(deep)
    await host.start()
    try:
        assert await control.phones(deep) == []
    finally:
        await host.stop()
    assert not control.socket_of(deep).exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["eightms://pair?e=http%3A%2F%2Fa&t=x", "--count", "3"], "a link works once"),
        (["eightms://pair?e=http%3A%2F%2Fa&t=x"] * 2, "given twice"),
        (["nonsense"], "pairing link"),
        (["--fail-rate", "7"], "between 0 and 1"),
    ],
)
def test_wrong_usage_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
):
    assert main([*args, "--state-dir", str(tmp_path / "none")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert not (tmp_path / "none").exists()


async def test_no_web_page_can_drive_a_phone_over_the_loopback_port(tmp_path: Path):
    async with hosting(tmp_path, control_port=0) as host, aiohttp.ClientSession() as browser:
        url = f"http://127.0.0.1:{host.control_port}/phones"
        async with browser.get(url) as response:
            assert response.status == 200
        async with browser.get(url, headers={"Host": "evil.example"}) as response:
            assert response.status == 403
        async with browser.post(url, data="{}", headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 415


async def test_a_host_knows_only_its_own_phones(tmp_path: Path):
    async with hosting(tmp_path, control=False) as host:
        with pytest.raises(UnknownPhone):
            host.receive("phn_none", "+14155550100", "hello")
        assert not (tmp_path / "control.sock").exists()


async def test_the_state_folder_is_private(tmp_path: Path):
    state_dir = tmp_path / "phones"
    async with hosting(state_dir):
        for name in (".", "phones.db", "lock", "control.sock"):
            assert (state_dir / name).stat().st_mode & 0o077 == 0
