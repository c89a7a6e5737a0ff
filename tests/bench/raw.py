"""What the parts give by themselves on this machine, in this run: what the ratios refer to."""

import asyncio
import multiprocessing
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import asyncpg
import msgspec
import nats
import uvloop
from aiohttp import web
from nats.aio.client import Client

from shared import events as e
from shared import ids
from shared.log import STREAM_CONFIG
from tests.bench.texts import BODY, recipient

BARE = "BARE"
BATCH = 1000  # the server's limit for an atomic batch
BATCHES_IN_FLIGHT = 2  # one is encoded while the other is synced
SINGLES_IN_FLIGHT = 64
UPSERT_ROWS = 500
TEXT_COLUMNS = 20  # about as wide as a projected message


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """A bare aiohttp application that answers JSON with the same JSON: its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_echo, args=(theirs,), daemon=True)
    process.start()
    try:
        yield await asyncio.to_thread(ours.recv)
    finally:
        process.terminate()
        await asyncio.to_thread(process.join, 10)
        ours.close()


def _echo(pipe: Connection) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(await request.json())

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/sms/send", echo)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    uvloop.run(serve())


def payloads(count: int) -> list[bytes]:
    """Events as the API appends them for the texts of this benchmark."""
    workspace_id, now = ids.new("ws"), datetime.now(UTC)
    return [
        e.encode(
            e.make(
                e.SendRequested(
                    message_id=ids.new("msg"),
                    contact_id=ids.new("con"),
                    to=recipient(number),
                    body=BODY.format(number=number),
                    parts=1,
                    source="api",
                    expires_at=now,
                ),
                id=ids.new("evt"),
                workspace_id=workspace_id,
                at=now,
                actor=e.Actor("api_key", ids.new("key")),
                cause=ids.new("req"),
            )
        )
        for number in range(count)
    ]


async def jetstream(url: str, seconds: float) -> tuple[float, float]:
    """Synced messages a second, (one by one with 64 in flight, in atomic batches of 1,000)."""
    nc = await nats.connect(url)
    config = STREAM_CONFIG | {"name": BARE, "subjects": ["bare.>"]}
    await nc.request(f"$JS.API.STREAM.CREATE.{BARE}", msgspec.json.encode(config), timeout=5)
    try:
        ready = payloads(BATCH)
        alone = await _singles(nc, ready, seconds)
        together = await _batches(nc, ready, seconds)
    finally:
        await nc.request(f"$JS.API.STREAM.DELETE.{BARE}", b"", timeout=30)
        await nc.close()
    return alone, together


async def _singles(nc: Client, ready: Sequence[bytes], seconds: float) -> float:
    done, end = 0, time.perf_counter() + seconds

    async def worker(n: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            answer = await nc.request(f"bare.{n}.{done}", ready[done % BATCH], timeout=10)
            _stored(answer.data)
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(worker(n) for n in range(SINGLES_IN_FLIGHT)))
    return done / (time.perf_counter() - begin)


async def _batches(nc: Client, ready: Sequence[bytes], seconds: float) -> float:
    done, end = 0, time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < end:
            batch = uuid.uuid4().hex
            for n in range(1, BATCH):
                headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(n)}
                await nc.publish(f"bare.{batch}.{n}", ready[n - 1], headers=headers)
            headers = {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(BATCH),
                "Nats-Batch-Commit": "1",
            }
            subject = f"bare.{batch}.{BATCH}"
            answer = await nc.request(subject, ready[-1], timeout=30, headers=headers)
            _stored(answer.data)
            done += BATCH

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(BATCHES_IN_FLIGHT)))
    return done / (time.perf_counter() - begin)


def _stored(answer: bytes) -> None:
    ack: dict[str, Any] = msgspec.json.decode(answer)
    if "error" in ack:
        raise RuntimeError(f"bare JetStream refused: {ack['error'].get('description')}")


async def upserts(url: str, seconds: float) -> tuple[float, float]:
    """Rows a second inserted, then updated, one statement for 500, as projections do it."""
    db = await asyncpg.connect(url)
    columns = [f"c{n}" for n in range(TEXT_COLUMNS)]
    try:
        await db.execute("SET synchronous_commit = off")
        await db.execute(
            "CREATE TABLE bare (id text PRIMARY KEY, "
            + ", ".join(f"{column} text" for column in columns)
            + ")"
        )
        assign = ", ".join(f"{column} = excluded.{column}" for column in columns)
        statement = (
            "INSERT INTO bare SELECT * FROM json_populate_recordset(NULL::bare, $1::text::json) "
            f"ON CONFLICT (id) DO UPDATE SET {assign}"
        )
        batches = max(1, int(seconds * 20))
        encoded = [
            msgspec.json.encode(
                [
                    {"id": f"msg_{batch}_{n}"} | dict.fromkeys(columns, f"value {n}")
                    for n in range(UPSERT_ROWS)
                ]
            ).decode()
            for batch in range(batches)
        ]
        rates: list[float] = []
        for _ in ("insert", "update"):
            begin = time.perf_counter()
            for rows in encoded:
                await db.execute(statement, rows)
            rates.append(batches * UPSERT_ROWS / (time.perf_counter() - begin))
        return rates[0], rates[1]
    finally:
        await db.execute("DROP TABLE IF EXISTS bare")
        await db.close()
