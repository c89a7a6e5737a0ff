"""The three paths of the phone protocol: parse, hand over, answer."""

from __future__ import annotations

import gc

from aiohttp import web

from services.gateway import entries, pairing
from services.gateway.instance import Instance
from shared.http import json_response, parse, read_body
from shared.service import CONTEXT, Context

STREAM_PATH = "/phone/v1/stream"
# What a call makes dies with it, and streams live long: looking at those only takes time.
GC_THRESHOLDS = (20_000, 50, 100)


def add(app: web.Application, context: Context) -> None:
    """Register the routes and make the instance behind them."""
    Instance(context)
    app.router.add_post("/phone/v1/pair", _pair)
    app.router.add_get(STREAM_PATH, _stream, allow_head=False)
    app.router.add_post("/phone/v1/journal", _journal)


async def start(context: Context) -> None:
    """The service begins to work."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    await Instance.of(context).start()


async def stop(context: Context) -> None:
    """The service drains."""
    await Instance.of(context).stop()


async def _pair(request: web.Request) -> web.StreamResponse:
    context = request.app[CONTEXT]
    paired = await pairing.pair(context, parse(pairing.PairRequest, await read_body(request)))
    answer = {
        "phone_id": paired.phone_id,
        "credential": paired.credential,
        "stream_url": context.settings.gateway_url.rstrip("/") + STREAM_PATH,
        "config": {"heartbeat_s": context.settings.heartbeat_s},
    }
    return json_response(answer, 201, {"Cache-Control": "no-store"})


async def _stream(request: web.Request) -> web.StreamResponse:
    instance = Instance.of(request.app[CONTEXT])
    return await instance.streams.serve(request, await instance.credentials.holder(request))


async def _journal(request: web.Request) -> web.StreamResponse:
    context = request.app[CONTEXT]
    instance = Instance.of(context)
    holder = await instance.credentials.holder(request)
    call = entries.read_call(await read_body(request))
    stream_from = instance.streams.stream_from(holder.phone_id, context.settings.inventory_settle_s)
    verdict = await instance.journal.take(holder, call, stream_from)
    await instance.presence.heard(holder.phone_id, verdict.vitals)
    return json_response(
        {
            "acked_seq": verdict.acked_seq,
            "rejected": verdict.rejected,
            "server_time": context.clock.now(),
        }
    )
