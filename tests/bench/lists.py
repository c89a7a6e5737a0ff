"""Lists and searches over HTTP: the same at a million contacts as at a thousand.

Each request is asked again and again on one connection, one at a time: what is measured is how long
an answer takes, not how many there are. The largest workspace is filled last, so that the small one
is measured beside nothing; both live in the same tables.
"""

import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.account import Account, known, open_account
from tests.bench.crowd import fill
from tests.bench.readings import Finding, ms, percentile
from tests.bench.stack import Stack

SMALL, LARGE, QUICK = 1_000, 1_000_000, 50_000
P99_MAX_S = 0.050
WARM_UP = 5
# Beyond this a list of the large workspace has grown; below, the difference is the machine's.
FLAT_FACTOR, FLAT_SLACK_S = 2.0, 0.010


async def measure(directory: Path, *, quick: bool) -> Finding:
    """p50 and p99 of every list and search, at both sizes."""
    finding = Finding("lists")
    times = 60 if quick else 200
    found: list[dict[str, list[float]]] = []
    sizes = (SMALL, QUICK if quick else LARGE)
    for size in sizes:
        async with Stack(directory / str(size), ("api",)) as stack:
            account = await open_account(stack.log)
            await known(stack, account)
            began = time.perf_counter()
            await fill(stack.servers.database_socket_url, account, size)
            finding.remarks.append(
                f"{size:,} contacts and {size * 5:,} texts filled in "
                f"{time.perf_counter() - began:.0f} s"
            )
            found.append(await _asked(stack, account, times))
    small, large = found
    for what, samples in large.items():
        p99, before = percentile(samples, 99), percentile(small[what], 99)
        finding.add(
            what,
            f"p50 {ms(percentile(samples, 50))} · p99 {ms(p99)} "
            f"(at {SMALL:,}: p50 {ms(percentile(small[what], 50))} · p99 {ms(before)})",
            "p99 ≤ 50 ms, flat",
            p99 <= P99_MAX_S and p99 <= before * FLAT_FACTOR + FLAT_SLACK_S,
        )
    return finding


async def _asked(stack: Stack, account: Account, times: int) -> dict[str, list[float]]:
    """Every request so many times: how long each took."""
    headers = {"Authorization": f"Bearer {account.api_key}"}
    out: dict[str, list[float]] = {}
    async with aiohttp.ClientSession(stack.url("api"), headers=headers) as session:
        for what, path in (await _requests(session)).items():
            samples: list[float] = []
            for n in range(times + WARM_UP):
                began = time.perf_counter()
                async with session.get(path) as response:
                    body = await response.read()
                    if response.status != 200:
                        raise RuntimeError(f"{path}: {response.status} {body[:300]!r}")
                if n >= WARM_UP:
                    samples.append(time.perf_counter() - began)
            out[what] = samples
    return out


async def _requests(session: aiohttp.ClientSession) -> dict[str, str]:
    """What is asked, by what it is called. Somewhere in the middle means the twentieth page."""

    async def get(path: str) -> Any:
        async with session.get(path) as response:
            return await response.json()

    async def deep(path: str) -> str:
        cursor = ""
        for _ in range(20):
            page = await get(f"{path}{cursor}")
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        return path + cursor

    someone = (await get("/v1/contacts?limit=1&tag=rare"))["data"][0]
    names = f"{someone['first_name']} {someone['last_name']}"
    reply = (await get("/v1/messages?limit=1&direction=inbound"))["data"][0]
    word = reply["body"].split()[0]
    thread = f"/v1/conversations/{reply['conversation_id']}/messages?limit=50"
    message = (await get("/v1/messages?limit=1&state=delivered"))["data"][0]
    return {
        "contacts": "/v1/contacts?limit=100",
        "contacts, in the middle": await deep("/v1/contacts?limit=100"),
        "contacts with a tag": "/v1/contacts?limit=100&tag=vip",
        "contacts who opted out, with a tag": "/v1/contacts?limit=100&tag=vip&opted_out=true",
        "contacts named like one person": f"/v1/contacts?limit=100&q={names}",
        "contacts, one letter typed": "/v1/contacts?limit=100&q=a",
        "contacts, two letters of two names": f"/v1/contacts?q={names[:2]} s",
        "contacts, nobody is called so": "/v1/contacts?q=zzzzz",
        "contacts, beginning of a number": "/v1/contacts?q=%2B12",
        "contacts, a number": f"/v1/contacts?q=%2B{someone['phone'][1:]}",
        "contacts, letter, tag and opt-out": "/v1/contacts?q=a&tag=vip&opted_out=true",
        "tags": "/v1/contacts/tags",
        "messages": "/v1/messages?limit=100",
        "messages, in the middle": await deep("/v1/messages?limit=100"),
        "messages, inbound": "/v1/messages?limit=100&direction=inbound",
        "messages, failed": "/v1/messages?limit=100&state=failed",
        "messages, sent and not delivered": "/v1/messages?limit=100&state=sent",
        "messages, dispatched (there are none)": "/v1/messages?limit=100&state=dispatched",
        "messages of a phone": f"/v1/messages?limit=100&phone_id={message['from_phone_id']}",
        "messages of a contact": f"/v1/messages?limit=100&contact_id={message['contact_id']}",
        "messages with a word": f"/v1/messages?limit=100&q={word}",
        "messages with a word everybody uses": "/v1/messages?limit=100&q=hello",
        "messages with a word nobody uses": "/v1/messages?limit=100&q=zzzzz",
        "conversations": "/v1/conversations?limit=100",
        "conversations, in the middle": await deep("/v1/conversations?limit=100"),
        "conversations, unread": "/v1/conversations?limit=100&status=unread",
        "conversations, closed": "/v1/conversations?limit=100&status=closed",
        "conversations, by a word": f"/v1/conversations?limit=100&q={word}",
        "conversations, one letter typed": "/v1/conversations?limit=100&q=a",
        "conversations, unread count": "/v1/conversations/counts",
        "a thread around a message": f"{thread}&around={reply['id']}",
    }
