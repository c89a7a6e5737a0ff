"""A campaign on the whole stack, under load: paused, edited, resumed, cancelled, and a scheduler
that is killed. Nothing is lost and nothing is sent twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE = 240
OTHERS = 120


def number(n: int) -> str:
    return f"+1415{2_000_000 + n}"


async def people(stack: Stack) -> None:
    """Contacts with the tag ``go``, a first name for every other one."""
    gate = asyncio.Semaphore(8)

    async def save(n: int) -> None:
        async with gate:
            body = {"phone": number(n), "tags": ["go"]} | ({"first_name": f"N{n}"} if n % 2 else {})
            answer = await stack.api("POST", "/v1/contacts", body)
            assert answer.status == 201, answer.body

    await asyncio.gather(*(save(n) for n in range(PEOPLE)))


async def campaign(stack: Stack, template: str) -> str:
    body = {"name": "C", "template": template, "contact_filter": {"tags": {"any": ["go"]}}}
    made = await stack.api("POST", "/v1/campaigns", body)
    assert made.status == 201, made.body
    return made.body["id"]


async def steer(stack: Stack, campaign_id: str, wish: str) -> dict[str, Any]:
    answer = await stack.api("POST", f"/v1/campaigns/{campaign_id}/{wish}")
    assert answer.status == 200, (answer.body, stack.report())
    return answer.body


async def load(stack: Stack) -> dict[str, str]:
    """Ordinary texts beside the campaign; message → number."""
    sent: dict[str, str] = {}
    for n in range(OTHERS):
        message = await stack.send(f"+1415{3_000_000 + n}", f"ordinary {n}")
        sent[message["id"]] = message["to"]
        await asyncio.sleep(0.02)
    return sent


def on_air(stack: Stack) -> Counter[str]:
    """How often each message was sent."""
    return Counter(row[0] for row in stack.phones_db("SELECT message_id FROM radio"))


def texts_of(stack: Stack, campaign_id: str) -> dict[str, Any]:
    """What was fed of a campaign; message → its request."""
    fed = [e.data for e in stack.events("send.requested") if e.data.campaign_id == campaign_id]
    return {data.message_id: data for data in fed}


async def test_steering_a_campaign_under_load_loses_and_doubles_nothing(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(4)
    await people(stack)
    await paused_edited_resumed(stack)
    await cancelled(stack)
    await stack.verify()


async def paused_edited_resumed(stack: Stack) -> None:
    await stack.endpoint("/hook", ["campaign.completed"])
    campaign_id = await campaign(stack, "Old {{first_name|you}}")
    path = f"/v1/campaigns/{campaign_id}"
    others = asyncio.create_task(load(stack))
    assert (await steer(stack, campaign_id, "start"))["recipients"] == PEOPLE

    def fed() -> int:
        return len(texts_of(stack, campaign_id))

    await stack.until("it is under way", lambda: fed() > 30)
    paused = await steer(stack, campaign_id, "pause")
    assert paused["state"] == "paused"
    edited = await stack.api("PATCH", path, {"template": "New {{first_name|you}}"})
    assert edited.status == 200, edited.body
    await asyncio.sleep(0.5)
    standing = fed()
    await asyncio.sleep(0.5)
    assert fed() == standing  # nothing more was fed
    old = set(texts_of(stack, campaign_id))
    await steer(stack, campaign_id, "resume")
    await stack.until("it goes on", lambda: fed() > standing + 30)
    for instance in stack.instances_of("scheduler"):
        stack.kill(instance)  # and it is brought back

    async def completed() -> bool:
        return (await stack.api("GET", path)).body["state"] == "completed"

    await stack.until("it is completed", completed)
    ordinary = await others
    texts = texts_of(stack, campaign_id)
    assert len(texts) == PEOPLE
    assert {data.to for data in texts.values()} == {number(n) for n in range(PEOPLE)}
    assert all(data.body.startswith("Old") == (id in old) for id, data in texts.items())
    await stack.until("the others are out", lambda: ordinary.keys() <= on_air(stack).keys())
    assert on_air(stack) == dict.fromkeys([*texts, *ordinary], 1)
    report = (await stack.api("GET", f"{path}/report")).body
    assert sum(report["by_phone"].values()) == PEOPLE
    assert report["totals"]["sent"] + report["totals"]["delivered"] == PEOPLE
    (hit,) = await stack.until("the webhook came", lambda: stack.receiver.good("/hook"))
    assert (hit.body["type"], hit.body["data"]["messages"]) == ("campaign.completed", PEOPLE)


async def cancelled(stack: Stack) -> None:
    """In full flight: each text went out, or was taken back, or never was."""
    campaign_id = await campaign(stack, "Second")
    await steer(stack, campaign_id, "start")
    await stack.until("it is under way", lambda: len(texts_of(stack, campaign_id)) > 20)
    await steer(stack, campaign_id, "cancel")
    totals: dict[str, int] = {}

    async def settled() -> bool:
        answer = await stack.api("GET", f"/v1/campaigns/{campaign_id}")
        totals.update(answer.body["totals"])
        over = totals["cancelled"] + totals["sent"] + totals["delivered"]
        texts = texts_of(stack, campaign_id)
        return over == len(texts) and over + totals["pending"] == PEOPLE

    await stack.until("every text of it is settled", settled)
    texts = texts_of(stack, campaign_id)
    out = {message_id: n for message_id, n in on_air(stack).items() if message_id in texts}
    assert set(out.values()) <= {1}
    assert len(out) == totals["sent"] + totals["delivered"]
