"""Campaigns on the real log and database: fed little by little, steered, and each text once."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from cli.embedded import NatsServer
from services.scheduler import feed
from shared import events as e
from shared import ids
from tests.scheduler import World


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[World]:
    async with World(database_url, nats_server) as made:
        yield made


async def run_dry(world: World) -> None:
    """Phones send whatever they are handed, until nothing moves any more."""
    before = -1
    while True:
        await world.settled()
        done = len(await world.sent())
        await world.settled()
        last = (await world.log.state()).last_seq
        if last == before:
            return
        before = last
        assert done < 10_000


def bodies(events: list[e.Event]) -> Counter[str]:
    return Counter(event.data.body for event in events)


def contact(world: World, name: str, n: int) -> str:
    return ids.derive("con", world.id, name, str(n))


async def test_a_campaign_is_fed_as_phones_become_free_and_completed(world: World) -> None:
    for name in ("one", "two"):
        await world.phone(name, min_gap_s=60)
    campaign_id = await world.campaign("spring", 12)
    await world.settled()
    fed = await world.events("send.requested")
    assert len(fed) == 2 + 2 * feed.PER_PHONE  # two went out, and a line stands behind them
    for _ in range(6):
        await run_dry(world)
        await world.forward(minutes=1)
    await run_dry(world)
    fed = await world.events("send.requested")
    sent = await world.events("send.dispatched")
    assert bodies(sent) == {f"spring {n}": 1 for n in range(12)}
    assert {event.data.campaign_id for event in fed} == {campaign_id}
    assert {event.data.source for event in fed} == {"campaign"}
    completed = await world.until("campaign.completed")
    assert [(one.data.recipients, one.data.messages, one.data.skipped) for one in completed] == [
        (12, 12, 0)
    ]


async def test_a_pause_holds_what_waits_and_an_edit_reaches_who_is_not_fed(world: World) -> None:
    await world.phone("one", min_gap_s=60)
    campaign_id = await world.campaign("spring", 10)
    await run_dry(world)
    fed = [event.data for event in await world.events("send.requested")]
    assert len(await world.events("send.dispatched")) == 1
    await world.say(e.CampaignPaused(campaign_id=campaign_id))
    await world.forward(minutes=5)
    await run_dry(world)
    assert len(await world.events("send.dispatched")) == 1
    waiting = await world.explain(world.wish(message_id=fed[-1].message_id))
    assert waiting is not None
    assert waiting["reason"] == "campaign_paused"
    # An ordinary text is not held up by what is paused.
    other = await world.send("other")
    await world.dispatched(other)
    for told in world.people.values():
        told["body"] = "New " + told["body"]
    await world.say(
        e.CampaignUpdated(
            campaign_id=campaign_id, name="x", template="y", contact_filter=e.ContactFilter()
        ),
        e.CampaignResumed(campaign_id=campaign_id),
    )
    for _ in range(11):
        await run_dry(world)
        await world.forward(minutes=1)
    await world.until("campaign.completed")
    sent = [
        event for event in await world.events("send.dispatched") if event.data.body[:5] != "Hello"
    ]
    old = {one.body for one in fed}
    assert bodies(sent) == {
        body: 1 for n in range(10) for body in [f"spring {n}"] if body in old
    } | {f"New spring {n}": 1 for n in range(10) if f"spring {n}" not in old}
    assert len(sent) == 10


async def test_a_cancelled_campaign_takes_back_what_waits(world: World) -> None:
    await world.phone("one", min_gap_s=60)
    campaign_id = await world.campaign("spring", 30)
    await run_dry(world)
    await world.say(e.CampaignCancelled(campaign_id=campaign_id))
    await world.forward(minutes=10)
    await run_dry(world)
    fed = {event.data.message_id for event in await world.events("send.requested")}
    sent = {event.data.message_id for event in await world.events("send.dispatched")}
    cancelled = {event.data.message_id for event in await world.events("send.cancelled")}
    assert len(sent) == 1
    assert fed == sent | cancelled
    assert sent.isdisjoint(cancelled)
    assert await world.events("campaign.completed") == []


async def test_a_crash_in_the_middle_loses_and_doubles_nothing(world: World) -> None:
    await world.phone("one")
    await world.phone("two")
    await world.campaign("spring", 40)  # 24 parts a minute is what a phone may
    for _ in range(4):
        await world.until("send.dispatched")
        await world.end()
        await world.begin()
        await world.sent()
    await run_dry(world)
    assert bodies(await world.events("send.dispatched")) == {f"spring {n}": 1 for n in range(40)}
    assert len(await world.until("campaign.completed")) == 1


async def test_who_said_stop_is_skipped_or_refused(world: World) -> None:
    await world.phone("one", min_gap_s=60)
    world.people[contact(world, "spring", 3)] = {"skipped": "opted_out"}
    await world.campaign("spring", 6)
    await run_dry(world)
    fed = [event.data for event in await world.events("send.requested")]
    assert len(fed) == 5
    waiting = fed[-1]
    await world.say(
        e.ContactOptedOut(contact_id=waiting.contact_id, number=waiting.to, source="keyword")
    )
    for _ in range(6):
        await run_dry(world)
        await world.forward(minutes=1)
    skipped = await world.events("campaign.skipped")
    assert [(one.data.contact_id, one.data.reason) for one in skipped] == [
        (contact(world, "spring", 3), "opted_out")
    ]
    rejected = await world.events("send.rejected")
    assert [one.data.message_id for one in rejected] == [waiting.message_id]
    assert len(await world.events("send.dispatched")) == 4
    completed = await world.until("campaign.completed")
    assert (completed[0].data.messages, completed[0].data.skipped) == (5, 1)


async def test_nobody_is_fed_while_asleep_or_outside_the_window(world: World) -> None:
    """At noon in London New York sleeps, and Sydney is past its evening."""
    await world.profile(quiet_hours=e.QuietHours(start="21:00", end="08:00"))
    await world.phone("one")
    zones = {0: "America/New_York", 1: "Australia/Sydney", 2: "Europe/London"}
    for n, zone in zones.items():
        world.people[contact(world, "spring", n)] = {
            "to": "+14155550100", "timezone": zone, "body": f"spring {n}", "parts": 1,
        }  # fmt: skip
    window = e.SendWindow(days=(0,), start="13:00", end="20:00", timezone="Europe/London")
    await world.campaign("spring", 3, send_window=window)
    await run_dry(world)
    assert await world.events("send.requested") == []
    await world.forward(hours=1, minutes=11)  # 13:11 in London: New York is up since an hour
    await run_dry(world)
    sent = bodies(await world.events("send.dispatched"))
    assert sent == {"spring 0": 1, "spring 2": 1}
    # Sydney's day is London's night, and the window is London's day: never, and said so.
    skipped = await world.events("campaign.skipped")
    assert [(one.data.contact_id, one.data.reason) for one in skipped] == [
        (contact(world, "spring", 1), "never_in_window")
    ]
    await world.until("campaign.completed")


async def test_a_start_in_the_future_waits(world: World) -> None:
    await world.phone("one")
    start_at = world.clock.now() + timedelta(hours=2)
    await world.campaign("spring", 2, start_at=start_at)
    await world.forward(hours=1)
    await run_dry(world)
    assert await world.events("send.requested") == []
    await world.forward(hours=1)
    await run_dry(world)
    assert len(await world.events("send.dispatched")) == 2


async def test_campaigns_share_turns_and_others_go_first(world: World) -> None:
    await world.phone("one", min_gap_s=60)
    await world.campaign("spring", 40)
    await run_dry(world)
    await world.campaign("summer", 40)
    await run_dry(world)
    urgent = await world.send("urgent")
    for _ in range(20):
        await world.forward(minutes=1)
        await run_dry(world)
    sent = await world.events("send.dispatched")
    order = [event.data.body.split()[0] for event in sent]
    assert sent[1].data.message_id == urgent.message_id
    assert abs(order[5:].count("spring") - order[5:].count("summer")) <= 2


async def test_only_the_phones_of_a_campaign_carry_it(world: World) -> None:
    await world.phone("one")
    two = await world.phone("two")
    await world.campaign("spring", 6, phone_ids=(two,))
    await run_dry(world)
    sent = await world.events("send.dispatched")
    assert Counter(event.data.phone_id for event in sent) == {two: 6}


async def test_a_forecast_counts_phones_days_and_who_is_never_reached(world: World) -> None:
    one = await world.phone("one", min_gap_s=3600)
    await world.phone("away", online=False)
    question: dict[str, Any] = {
        "campaign": {
            "id": ids.derive("cmp", "x"),
            "phone_ids": [],
            "send_window": {"days": [0, 1], "start": "09:00", "end": "17:00", "timezone": "UTC"},
            "failover_s": None,
            "start_at": None,
            "test": False,
        },
        "clocks": [["UTC"], ["Australia/Sydney"]],
        "groups": [[0, None, 2, 8], [0, one, 1, 1]],
    }
    await world.settled()
    found = await world.ask("forecast", **question)
    assert found["by_day"] == [
        {"date": "2026-03-02", "phone_id": one, "messages": 5},
        {"date": "2026-03-03", "phone_id": one, "messages": 4},
    ]
    finish = datetime.fromisoformat(found["finish_at"])
    assert datetime(2026, 3, 3, 12, tzinfo=UTC) <= finish < datetime(2026, 3, 3, 12, 15, tzinfo=UTC)
    assert (found["segments"], found["messages"], found["waiting"]) == (17, 9, None)
    await world.say(e.PhoneOffline(phone_id=one))
    await world.settled()
    assert (await world.ask("forecast", **question))["waiting"] == "phone_offline"
