"""Simulated phones against a real HTTP server that can refuse, hang, cut and repeat."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from clients.simphone import (
    Carrier,
    PairingRefused,
    SimHost,
    StateDirBusy,
    control,
)
from clients.simphone.errors import NotHosted, SimphoneError
from tests.fakes.gateway import FakeGateway, FakePhone, Fault

ROOT = Path(__file__).parents[2]
FULL = ["accepted", "submitted", "sent", "delivered"]
PATIENCE_S = 30.0

# Hosts phones like `python -m clients.simphone`, and kills itself when a send reaches a step.
SUICIDAL = """
import asyncio, os, signal, sys
from clients.simphone import Carrier, SimHost

async def main(state_dir, uri, last_step):
    def die(*args):
        if last_step in args:
            os.kill(os.getpid(), signal.SIGKILL)

    host = SimHost(state_dir, carrier=Carrier(delay_ms=1), on_step=die, on_frame=die)
    await host.start()
    if uri:
        await host.pair(uri)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that must become true; the time-out is patience, not a measurement."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def rows(state_dir: Path, query: str) -> list[Any]:
    db = sqlite3.connect(state_dir / "phones.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    gateway = FakeGateway()
    await gateway.start()
    yield gateway
    await gateway.stop()
    assert gateway.violations == []


@contextlib.asynccontextmanager
async def hosting(state_dir: Path, **options: Any) -> AsyncIterator[SimHost]:
    options.setdefault("carrier", Carrier(delay_ms=0))
    host = SimHost(state_dir, **options)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[SimHost]:
    async with hosting(tmp_path) as host:
        yield host


async def connected(host: SimHost, gateway: FakeGateway, **options: Any) -> FakePhone:
    """A freshly paired phone with an open stream, as the gateway knows it."""
    (paired,) = await host.pair(gateway.uri("Front desk"), **options)
    phone = gateway.phones[paired.phone_id]
    await until(lambda: phone.queue is not None)
    return phone


async def test_a_phone_introduces_itself_before_it_takes_commands(
    host: SimHost, gateway: FakeGateway
):
    phone = await connected(host, gateway)
    assert phone.device == {
        "device_id": phone.device["device_id"],
        "manufacturer": "8ms",
        "model": "Simulated phone",
        "android": "14",
        "app_version": "simphone/1",
        "simulated": True,
    }
    assert phone.sims == [{"slot": 0, "subscription_id": 1, "carrier": "Simulated"}]
    assert phone.calls[0]["inventory"]["open_commands"] == []
    assert phone.calls[0]["inventory"]["journal_head"] == 1
    assert [entry["type"] for entry in phone.calls[0]["entries"]] == ["health"]
    assert host.phones[phone.phone_id].label == "Front desk"


async def test_a_text_goes_out_and_is_told_step_by_step(host: SimHost, gateway: FakeGateway):
    phone = await connected(host, gateway)
    command_id = gateway.send(phone.phone_id, "hello")
    await until(lambda: "delivered" in phone.types(command_id))
    assert phone.types(command_id) == FULL
    assert rows(host.state_dir, "SELECT command_id, to_number FROM radio") == [
        (command_id, "+14155550100")
    ]
    await until(lambda: rows(host.state_dir, "SELECT * FROM journal") == [])


async def test_after_a_cut_the_phone_comes_back_where_it_was(host: SimHost, gateway: FakeGateway):
    phone = await connected(host, gateway)
    first = gateway.send(phone.phone_id)
    await until(lambda: phone.types(first) == FULL)
    gateway.cut(phone.phone_id)
    second = gateway.send(phone.phone_id)
    await until(lambda: phone.types(second) == FULL)
    assert phone.connects[:2] == [None, "1"]
    assert sum("inventory" in call for call in phone.calls) == len(phone.connects)


async def test_a_command_offered_again_is_sent_once(host: SimHost, gateway: FakeGateway):
    phone = await connected(host, gateway)
    command_id = gateway.send(phone.phone_id)
    gateway.repeat(phone.phone_id)
    await until(lambda: phone.types(command_id) == FULL)
    gateway.repeat(phone.phone_id)
    await until(lambda: host.counters.repeated == 2)
    assert phone.types() == FULL
    assert rows(host.state_dir, "SELECT count(*) FROM radio") == [(1,)]


async def test_what_was_not_told_is_told_before_commands_are_taken_again(
    host: SimHost, gateway: FakeGateway
):
    phone = await connected(host, gateway)
    gateway.fault("journal", Fault(503), times=3)
    command_id = gateway.send(phone.phone_id)
    await until(lambda: host.counters.delivered == 1)
    gateway.cut(phone.phone_id)
    await until(lambda: len(phone.connects) == 2)
    assert phone.types(command_id) == FULL
    inventory = phone.calls[-1]["inventory"]
    assert (inventory["open_commands"], inventory["journal_head"]) == ([command_id], 5)
    assert host.counters.repeated == 0


async def test_a_lost_answer_only_repeats_what_was_told(host: SimHost, gateway: FakeGateway):
    phone = await connected(host, gateway)
    gateway.fault("journal", Fault(after=True), times=2)
    command_id = gateway.send(phone.phone_id)
    await until(lambda: rows(host.state_dir, "SELECT acked_seq FROM phone") == [(5,)])
    assert phone.types(command_id) == FULL


async def test_a_stream_that_is_refused_is_tried_again_not_before_retry_after(
    tmp_path: Path, gateway: FakeGateway
):
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    gateway.fault("stream", Fault(503, {"Retry-After": "17"}))
    gateway.fault("stream", Fault(500), times=3)
    async with hosting(tmp_path, pause=pause) as host:
        await connected(host, gateway)
    assert 17 <= pauses[0] <= 17.2
    assert len(pauses) == 4
    assert all(pause_s <= 0.2 * 2**n for n, pause_s in enumerate(pauses[1:], start=1))


async def test_a_stream_that_falls_silent_is_given_up(tmp_path: Path, gateway: FakeGateway):
    async with hosting(tmp_path, read_timeout_s=0.1) as host:
        phone = await connected(host, gateway)
        await until(lambda: len(phone.connects) >= 3)


async def test_pings_keep_a_silent_stream(tmp_path: Path, gateway: FakeGateway):
    gateway.ping_s = 0.02
    async with hosting(tmp_path, read_timeout_s=1.0) as host:
        phone = await connected(host, gateway)
        await until(lambda: host.counters.frames >= 60)
        assert len(phone.connects) == 1


async def test_rubbish_on_the_stream_does_not_stop_it(host: SimHost, gateway: FakeGateway):
    phone = await connected(host, gateway)
    gateway.raw(phone.phone_id, b"event: send\ndata: {broken\n\n: comment\nnonsense\n\n")
    gateway.raw(phone.phone_id, b'event: send\ndata: {"command_id": 5}\n\n')
    command_id = gateway.send(phone.phone_id)
    await until(lambda: phone.types(command_id) == FULL)
    assert host.counters.malformed == 2
    assert len(phone.connects) == 1


async def test_what_gathered_offline_goes_up_in_calls_of_500(host: SimHost, gateway: FakeGateway):
    phone = await connected(host, gateway)
    await until(lambda: phone.acked == 1)
    host.set_online(phone.phone_id, False)
    arrived = [host.receive(phone.phone_id, "+14155550100", f"text {n}") for n in range(1200)]
    assert await arrived[-1] == "1200"
    calls = len(phone.calls)
    host.set_online(phone.phone_id, True)
    await until(lambda: len(phone.types()) == 1200)
    sizes = [len(call["entries"]) for call in phone.calls[calls:]]
    assert [size for size in sizes if size > 1] == [500, 500, 200]
    bodies = [e["body"] for e in phone.entries.values() if e["type"] == "received"]
    assert bodies == [f"text {n}" for n in range(1200)]


async def test_a_part_that_is_acknowledged_is_not_told_again(host: SimHost, gateway: FakeGateway):
    phone = await connected(host, gateway)
    gateway.ack_at_most = 3
    for n in range(10):
        await host.receive(phone.phone_id, "+14155550100", f"text {n}")
    await until(lambda: len(phone.types()) == 10)
    assert phone.types() == ["received"] * 10


async def test_a_rejected_entry_is_logged_without_its_text_and_dropped(
    host: SimHost, gateway: FakeGateway, caplog: pytest.LogCaptureFixture
):
    phone = await connected(host, gateway)
    gateway.reject = lambda entry: "too_strange" if entry["type"] == "received" else None
    await host.receive(phone.phone_id, "+14155550100", "secret words")
    command_id = gateway.send(phone.phone_id)
    await until(lambda: phone.types(command_id) == FULL)
    await until(lambda: host.counters.rejected == 1)
    assert phone.types() == FULL
    assert "journal entry 2 rejected: too_strange" in caplog.text
    assert "secret" not in caplog.text
    assert "4155550100" not in caplog.text


@pytest.mark.parametrize("how", ["revoked", "stream 401", "stream 410", "journal 401"])
async def test_an_unpaired_phone_forgets_its_credential(
    tmp_path: Path, gateway: FakeGateway, how: str
):
    async with hosting(tmp_path) as host:
        phone = await connected(host, gateway)
        if how == "revoked":
            gateway.frame(phone.phone_id, "revoked", {})
        elif how == "journal 401":
            gateway.forget(phone.phone_id)
            host.set_battery(phone.phone_id, 50, None)
        else:
            gateway.fault("stream", Fault(int(how.split()[1])))
            gateway.cut(phone.phone_id)
        await until(lambda: host.phones[phone.phone_id].credential is None)
        assert (await control.phones(tmp_path))[0]["state"] == "unpaired"
    assert rows(tmp_path, "SELECT credential FROM phone") == [(None,)]
    connects = len(phone.connects)
    async with hosting(tmp_path) as host:
        await asyncio.sleep(0.05)
    assert len(phone.connects) == connects


async def test_pairing_again_keeps_the_phone_and_what_it_has_to_tell(
    host: SimHost, gateway: FakeGateway
):
    phone = await connected(host, gateway)
    device_id = phone.device["device_id"]
    gateway.frame(phone.phone_id, "revoked", {})
    await until(lambda: host.phones[phone.phone_id].credential is None)
    await host.receive(phone.phone_id, "+14155550100", "while unpaired")
    assert await connected(host, gateway, device_id=device_id) is phone
    await until(lambda: phone.types() == ["received"])
    assert phone.entry("received")["seq"] == 1
    command_id = gateway.send(phone.phone_id)
    await until(lambda: phone.types(command_id) == FULL)


async def test_a_used_link_is_refused_in_words(host: SimHost, gateway: FakeGateway):
    uri = gateway.uri()
    await host.pair(uri)
    with pytest.raises(
        PairingRefused, match=r"expired.*used before.*Open a new pairing"
    ) as refused:
        await host.pair(uri)
    assert refused.value.code == "pairing_expired"
    assert len(host.phones) == 1


async def test_a_pairing_outlives_a_gateway_that_is_busy(host: SimHost, gateway: FakeGateway):
    gateway.fault("pair", Fault(503, {"Retry-After": "0"}), times=2)
    phone = await connected(host, gateway)
    assert list(host.phones) == [phone.phone_id]


async def test_a_pairing_whose_answer_is_lost_gives_its_handset_to_the_next(
    host: SimHost, gateway: FakeGateway
):
    gateway.fault("pair", Fault(after=True))
    with pytest.raises(PairingRefused):
        await host.pair(gateway.uri())
    (lost,) = gateway.phones.values()
    assert await connected(host, gateway) is lost


async def test_many_phones_pair_from_many_links(host: SimHost, gateway: FakeGateway):
    uris = [gateway.uri(f"phone {n}") for n in range(40)]
    results = await host.pair_all([*uris, uris[0]])
    assert isinstance(results[-1], SimphoneError) != isinstance(results[0], SimphoneError)
    await until(lambda: sum(phone.queue is not None for phone in gateway.phones.values()) == 40)
    assert len({phone.device["device_id"] for phone in gateway.phones.values()}) == 40


async def test_heartbeats_come_alone_and_as_often_as_configured(
    host: SimHost, gateway: FakeGateway
):
    phone = await connected(host, gateway)
    gateway.frame(phone.phone_id, "config", {"heartbeat_s": 0.1})
    host.set_battery(phone.phone_id, 41, charging=False)
    await until(lambda: phone.heartbeats >= 5)
    newest = phone.entries[max(phone.entries)]
    assert (newest["battery"], newest["charging"], newest["network"]) == (41, False, "wifi")


async def test_an_answer_is_all_a_heartbeat_wants(host: SimHost, gateway: FakeGateway):
    gateway.stores_heartbeats = False
    phone = await connected(host, gateway)
    command_id = gateway.send(phone.phone_id)
    await until(lambda: phone.types(command_id) == FULL)
    assert (phone.heartbeats, host.counters.journal_failures) == (1, 0)


async def test_a_stopping_host_waits_for_the_texts_on_the_air(tmp_path: Path, gateway: FakeGateway):
    async with hosting(tmp_path, carrier=Carrier(delay_ms=100)) as host:
        phone = await connected(host, gateway)
        command_id = gateway.send(phone.phone_id)
        await until(lambda: host.counters.submitted == 1)
    assert phone.types(command_id) == FULL[:3]
    async with hosting(tmp_path):
        await until(lambda: phone.types(command_id) == FULL)


@pytest.mark.parametrize(
    ("last_step", "expected", "texts_out"),
    [
        ("send", FULL, 1),  # read, nothing written: offered again
        ("accepted", FULL, 1),  # not submitted: sent after the restart
        ("submitted", ["accepted", "submitted", "unknown"], 0),  # the radio was not reached
        ("radio", ["accepted", "submitted", "unknown"], 1),  # it was, but who can know
        ("sent", FULL, 1),  # the report comes after the restart
        ("delivered", FULL, 1),
    ],
)
async def test_a_phone_killed_at_any_step_never_sends_twice(
    tmp_path: Path, gateway: FakeGateway, last_step: str, expected: list[str], texts_out: int
):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUICIDAL, str(tmp_path), gateway.uri(), last_step, cwd=ROOT
    )
    await until(lambda: any(phone.queue for phone in gateway.phones.values()))
    (phone,) = gateway.phones.values()
    command_id = gateway.send(phone.phone_id)
    assert await child.wait() == -signal.SIGKILL
    async with hosting(tmp_path):
        await until(lambda: phone.types(command_id) == expected)
        again = gateway.send(phone.phone_id)
        await until(lambda: phone.types(again) == FULL)
    assert phone.types(command_id) == expected
    out = Counter(rows(tmp_path, "SELECT command_id FROM radio"))
    assert out == Counter({(command_id,): texts_out, (again,): 1})


async def test_phones_killed_again_and_again_account_for_every_text(
    tmp_path: Path, gateway: FakeGateway
):
    async with hosting(tmp_path) as host:
        phones = [await connected(host, gateway) for _ in range(3)]
    commands: list[tuple[FakePhone, str]] = []
    for death in range(6):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SUICIDAL, str(tmp_path), "", "never", cwd=ROOT
        )
        await until(lambda: all(phone.queue for phone in phones))
        told = _told(phones)
        for n in range(150):
            commands.append((phones[n % 3], gateway.send(phones[n % 3].phone_id)))
            if n % 10 == 0:
                await asyncio.sleep(0.002)
        await until(lambda enough=told + 80 * death: _told(phones) > enough)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        await until(lambda: not any(phone.queue for phone in phones))
    async with hosting(tmp_path):
        ends = {"delivered", "unknown"}
        await until(lambda: all(ends & set(phone.types(c)) for phone, c in commands))
    out = Counter(c for (c,) in rows(tmp_path, "SELECT command_id FROM radio"))
    assert max(out.values()) == 1
    for phone, command_id in commands:
        types = phone.types(command_id)
        assert types in (FULL, ["accepted", "submitted", "unknown"])
        assert out[command_id] == 1 or types[-1] == "unknown"


def _told(phones: list[FakePhone]) -> int:
    return sum(len(phone.types()) for phone in phones)


async def test_one_process_hosts_a_state_folder_and_takes_links_for_another(
    host: SimHost, gateway: FakeGateway
):
    with pytest.raises(StateDirBusy, match=f"in use by process {os.getpid()}"):
        await SimHost(host.state_dir).start()
    code, out, err = await command("--state-dir", str(host.state_dir), "--json", gateway.uri("B"))
    assert (code, err) == (0, "")
    assert json.loads(out) == {"phone_id": next(iter(host.phones)), "label": "B"}
    code, _, err = await command("--state-dir", str(host.state_dir))
    assert code == 1
    assert "in use by process" in err


async def command(*args: str, stdin: str = "") -> tuple[int, str, str]:
    """Run `python -m clients.simphone` to its end: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clients.simphone", *args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_hosts_phones_until_it_is_told_to_stop(
    tmp_path: Path, gateway: FakeGateway
):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clients.simphone", "-", "--count", "2"),
        *("--state-dir", str(tmp_path), "--delay-ms", "1", "--sims", "2", "--no-fsync"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdin is not None
    process.stdin.write(f"{gateway.uri('A')}\n{gateway.uri('B')}\n".encode())
    process.stdin.close()
    await until(lambda: sum(p.queue is not None for p in gateway.phones.values()) == 2)
    phone = next(iter(gateway.phones.values()))
    assert [sim["subscription_id"] for sim in phone.sims] == [1, 2]
    command_id = gateway.send(phone.phone_id, subscription_id=2)
    await until(lambda: phone.types(command_id) == FULL)
    process.send_signal(signal.SIGTERM)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert sorted(line[-1] for line in out.decode().splitlines()) == ["A", "B"]


async def test_the_control_interface_plays_the_person_with_the_phone(
    host: SimHost, gateway: FakeGateway
):
    where = host.state_dir
    answer = await control.pair(where, gateway.uri("Front desk"))
    phone_id = answer["phones"][0]["phone_id"]
    phone = gateway.phones[phone_id]
    await control.receive(where, phone_id, "+14155550100", "hello")
    await until(lambda: phone.types() == ["received"])
    assert phone.entry("received")["from"] == "+14155550100"
    gateway.send(phone_id, "hi")
    await until(lambda: "delivered" in phone.types())
    texts = (await control.call(where, "GET", f"/phones/{phone_id}/texts?limit=5"))["texts"]
    assert [(t["direction"], t["body"]) for t in texts] == [("out", "hi"), ("in", "hello")]
    await control.call(where, "POST", f"/phones/{phone_id}/online", {"online": False})
    await until(lambda: phone.queue is None)
    shown = await control.call(where, "POST", f"/phones/{phone_id}/battery", {"battery": 7})
    assert (shown["state"], shown["battery"], shown["network"]) == ("offline", 7, "none")
    await control.call(where, "POST", f"/phones/{phone_id}/online", {"online": True})
    await until(lambda: phone.queue is not None)
    assert (await control.phones(where))[0]["battery"] == 7


async def test_the_control_interface_explains_what_it_refuses(host: SimHost, gateway: FakeGateway):
    where = host.state_dir
    for expected, path, body in (
        ("unknown_phone", "/phones/phn_none/receive", {"from": "+1", "body": "x"}),
        ("bad_request", "/phones/phn_none/receive", {"from": "+1", "boddy": "x"}),
        ("bad_pairing_uri", "/phones", {"uri": gateway.uri(), "count": 3}),
        ("pairing_expired", "/phones", {"uri": gateway.uri().replace("&t=", "&t=un")}),
        ("not_found", "/nowhere", {}),
    ):
        with pytest.raises(SimphoneError) as refused:
            await control.call(where, "POST", path, body)
        assert refused.value.code == expected
    with pytest.raises(NotHosted, match="phone simulate"):
        await control.phones(where / "elsewhere")


async def test_a_benchmark_sees_every_frame_with_its_time(tmp_path: Path, gateway: FakeGateway):
    frames: list[tuple[str, str, Any, float]] = []
    async with hosting(tmp_path, on_frame=lambda *frame: frames.append(frame)) as host:
        phone = await connected(host, gateway)
        ids = [gateway.send(phone.phone_id) for _ in range(3)]
        await until(lambda: len(frames) == 3)
    assert [data["command_id"] for _, _, data, _ in frames] == ids
    assert all(phone_id == phone.phone_id and event == "send" for phone_id, event, *_ in frames)
    times = [at for *_, at in frames]
    assert times == sorted(times)
