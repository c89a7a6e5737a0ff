"""SimHost: all simulated phones of one state folder, in one event loop. The composition root."""

import asyncio
import errno
import fcntl
import logging
import os
import random
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from clients.simphone import storage
from clients.simphone.carrier import Carrier
from clients.simphone.control import ControlServer
from clients.simphone.errors import (
    BadControlRequest,
    BadPairingUri,
    SimphoneError,
    StateDirBusy,
    StateDirUnusable,
    UnknownPhone,
)
from clients.simphone.http import Wires
from clients.simphone.journal import Journal
from clients.simphone.pairing import take_pairing
from clients.simphone.phone import Phone
from clients.simphone.protocol import READ_TIMEOUT_S, Sim, parse_pairing_link
from clients.simphone.stream import CONNECTS_AT_ONCE, Streams
from clients.simphone.surroundings import Counters, OnFrame, OnStep, Surroundings, utc_now
from clients.simphone.uplink import FLUSH_MS, Uplink

log = logging.getLogger("simphone")

PAIRINGS_AT_ONCE = 32
MAX_TEXT_CHARS = 1600  # about ten parts, the most a text of this system has
DRAIN_S = 5.0  # what is on the air, and what is to be told, gets this long when the host stops
DRAIN_STEP_S = 0.02


class PairedPhone(NamedTuple):
    phone_id: str
    label: str


class SimHost:
    """Hosts the phones kept in `state_dir` and pairs more.

    `carrier` simulates the network. `on_frame(phone_id, event, data, perf_counter)` is called for
    every frame as it is read, `on_step(phone_id, command_id, step)` when a step of a send is
    durable: accepted, submitted, radio, then sent, delivered, failed, cancelled or unknown.
    `fsync=False` survives the death of the process but not of the machine. `flush_ms` is how long
    the first journal entry of a phone waits for company. One host per state folder: StateDirBusy.
    """

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        *,
        carrier: Carrier | None = None,
        sims: Sequence[Sim] = (Sim(0, 1, "Simulated"),),
        on_frame: OnFrame | None = None,
        on_step: OnStep | None = None,
        fsync: bool = True,
        flush_ms: float = FLUSH_MS,
        control: bool = True,
        control_port: int | None = None,
        read_timeout_s: float = READ_TIMEOUT_S,
        rng: random.Random | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.state_dir = Path(state_dir)
        self.carrier = carrier or Carrier()
        self.counters = Counters()
        self.phones: dict[str, Phone] = {}
        self.control_port: int | None = None
        self._sims = list(sims)
        self._callbacks = on_frame, on_step
        self._journal = Journal(self.state_dir / "phones.db", fsync=fsync)
        self._flush_ms, self._read_timeout_s = flush_ms, read_timeout_s
        self._control = ControlServer(self, control_port) if control else None
        self._rng, self._pause = rng or random.Random(), pause  # noqa: S311 - jitter
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pairing_devices: set[str] = set()
        self._reserving = asyncio.Lock()
        self._lock_fd: int | None = None

    async def start(self) -> None:
        """Take the state folder, resume its phones, open the control socket.

        StateDirBusy when another process has it, StateDirUnusable when it cannot be used."""
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = _lock(self.state_dir)
            self._journal.open()
            stored = list(storage.load(self._journal.reader))
        except (OSError, sqlite3.Error) as error:
            await self._journal.close()
            self._unlock()
            raise StateDirUnusable(f"Cannot use {self.state_dir}: {error}") from error
        loop = asyncio.get_running_loop()
        on_frame, on_step = self._callbacks
        self._around = Surroundings(
            journal=self._journal,
            carrier=self.carrier,
            loop=loop,
            next_provider_id=storage.last_provider_id(self._journal.reader) + 1,
            mark=self._mark,
            dismiss=self._dismiss,
            now=utc_now,
            on_frame=on_frame,
            on_step=on_step,
            counters=self.counters,
        )
        self._wires = Wires(loop)
        self._uplink = Uplink(self._wires, self._around, flush_ms=self._flush_ms, rng=self._rng)
        gate = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._streams = Streams(
            self._wires,
            self._uplink,
            self._around,
            gate,
            self._read_timeout_s,
            self._rng,
            self._pause,
        )
        for one in stored:
            self._host(one)
        if self._control is not None:
            try:
                await self._control.start()
            except OSError as error:
                await self.stop()
                raise StateDirUnusable(f"Cannot open the control interface: {error}") from error
            self.control_port = self._control.port
        log.info("hosting %d phones from %s", len(self.phones), self.state_dir)

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Switch the phones off: no new command is begun, what is on the air gets its result and
        the gateway is told, for at most `drain_s`; the journal keeps the rest for the next start.
        """
        if self._lock_fd is None:
            return
        self._around.closing = True
        if self._control is not None:
            await self._control.stop()
        for phone in self.phones.values():
            phone.stop_beating()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        deadline = self._around.loop.time() + drain_s
        while (
            self._around.on_air
            and not self._journal.failed.done()
            and self._around.loop.time() < deadline
        ):
            await asyncio.sleep(DRAIN_STEP_S)
        await self._journal.settle()
        await self._uplink.drain(max(0.0, deadline - self._around.loop.time()))
        self._around.closed = True
        self._uplink.stop()
        await self._wires.close()
        await self._journal.close()
        self._unlock()

    async def failed(self) -> None:
        """Wait for something that must end the process; raises StorageFailed."""
        await asyncio.shield(self._journal.failed)

    # Pairing

    async def pair(
        self, uri: str, count: int = 1, *, device_id: str | None = None
    ) -> list[PairedPhone]:
        """Pair one handset, a new one or `device_id` (again: it keeps its phone id and history).

        `count` is there to say clearly that a link works once: for more phones, see pair_all."""
        if count != 1:
            raise BadPairingUri(
                f"A pairing link works once, so {count} phones need {count} links: open one pairing"
                " for each and give all links."
            )
        link = parse_pairing_link(uri)
        device_id = await self._take_device(device_id)
        try:
            answer = await take_pairing(
                self._wires, link, device_id, self._sims, rng=self._rng, pause=self._pause
            )
            await self._release(answer.phone_id)
            save = partial(
                storage.save_pairing, device_id=device_id, link=link, paired=answer, sims=self._sims
            )
            self._host(await self._journal.run(save))
        finally:
            self._pairing_devices.discard(device_id)
        return [PairedPhone(answer.phone_id, link.label)]

    async def pair_all(self, uris: Sequence[str]) -> list[PairedPhone | SimphoneError]:
        """Pair one handset for each link; in their order, the phone or what went wrong."""
        gate = asyncio.Semaphore(PAIRINGS_AT_ONCE)

        async def one(uri: str) -> PairedPhone | SimphoneError:
            async with gate:
                try:
                    return (await self.pair(uri))[0]
                except SimphoneError as error:
                    return error

        return await asyncio.gather(*(one(uri) for uri in uris))

    # What a person does with a handset

    def phone(self, phone_id: str) -> Phone:
        """The phone, paired or not any more; UnknownPhone when this folder has none of that id."""
        try:
            return self.phones[phone_id]
        except KeyError:
            raise UnknownPhone("No such phone in this state folder.") from None

    def receive(
        self, phone_id: str, from_: str, body: str, subscription_id: int | None = None
    ) -> asyncio.Future[str]:
        """A text arrives at the phone, now. Awaited, it is durable: its provider id."""
        phone = self.phone(phone_id)
        if not from_ or not body or len(body) > MAX_TEXT_CHARS:
            raise BadControlRequest(f"A text has a sender and 1 to {MAX_TEXT_CHARS} characters.")
        try:
            (from_ + body).encode()
        except UnicodeEncodeError:
            raise BadControlRequest("The text holds half a surrogate pair.") from None
        provider_id = phone.receive(from_, body, subscription_id)
        return self._journal.run(lambda _: provider_id)

    def texts(self, phone_id: str, limit: int) -> list[dict[str, Any]]:
        """What the handset shows: its newest texts, sent and received, newest first."""
        return storage.texts(self._journal.reader, self.phone(phone_id).phone_id, limit)

    def set_online(self, phone_id: str, online: bool) -> None:
        """Airplane mode: without a network nothing goes up or comes down, and the radio is off."""
        phone = self.phone(phone_id)
        if phone.online == online:
            return
        phone.online = online
        self._journal.touch(phone)
        if online:
            self._connect(phone)
        else:
            self._disconnect(phone)

    def set_battery(self, phone_id: str, battery: int, charging: bool | None) -> None:
        """Battery in percent; told with the next heartbeat."""
        phone = self.phone(phone_id)
        if not 0 <= battery <= 100:
            raise BadControlRequest("A battery holds 0 to 100 percent.")
        phone.battery = battery
        phone.charging = phone.charging if charging is None else charging
        self._journal.touch(phone)
        if phone.online and phone.credential is not None:
            phone.beat()

    # Inside

    async def _take_device(self, device_id: str | None) -> str:
        """The handset to pair: the one named, one whose pairing was interrupted, or a new one."""
        async with self._reserving:
            if device_id is None:
                fresh, taken = "sim-" + secrets.token_hex(8), sorted(self._pairing_devices)
                device_id = str(
                    await self._journal.run(lambda db: storage.reserve_device(db, fresh, taken))
                )
            self._pairing_devices.add(device_id)
            return device_id

    def _host(self, stored: storage.StoredPhone) -> None:
        phone = Phone(stored, self._around)
        self.phones[phone.phone_id] = phone
        if phone.credential is not None:
            phone.resume(stored.commands)
            if phone.online:
                self._connect(phone)

    def _connect(self, phone: Phone) -> None:
        if phone.credential is None:
            return
        self._uplink.open(phone)
        task = self._around.loop.create_task(self._streams.follow(phone))
        self._tasks[phone.phone_id] = task
        task.add_done_callback(self._followed)

    def _disconnect(self, phone: Phone) -> asyncio.Task[None] | None:
        """Hang up; the task that ends, unless it is the one that calls."""
        phone.stop_beating()
        self._uplink.close(phone)
        task = self._tasks.pop(phone.phone_id, None)
        if task is None or task is asyncio.current_task():
            return None
        task.cancel()
        return task

    def _followed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a stream's task failed", exc_info=error)
            self._journal.broken(error)

    def _mark(self, phone: Phone) -> None:
        self._uplink.mark(phone)

    def _dismiss(self, phone: Phone) -> None:
        if phone.credential is not None:
            log.warning("phone %s: unpaired by its gateway", phone.phone_id)
            self._disconnect(phone)
            phone.unpair()

    async def _release(self, phone_id: str) -> None:
        """Let go of a phone that is about to be paired again."""
        phone = self.phones.pop(phone_id, None)
        if phone is not None:
            task = self._disconnect(phone)
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
            await self._journal.settle()
            phone.retire()

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _lock(state_dir: Path) -> int:
    """Lock the folder for this process; the lock goes when the process does, however it ends."""
    fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(fd, 20).decode("ascii", "replace").strip()
        os.close(fd)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise StateDirBusy(
            f"The state folder {state_dir} is in use by process {holder or '?'}."
        ) from None
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd
