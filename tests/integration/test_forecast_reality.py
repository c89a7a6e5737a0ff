"""The forecast against reality: the scheduler's own actors send a campaign on a virtual clock."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.scheduler import decide, forecast
from services.scheduler.desk import account_of, handset_of
from services.scheduler.project.tables import PHONE, WORKSPACE
from shared import events as e
from shared import ids
from tests.virtual import Virtual

NEW_YORK = ZoneInfo("America/New_York")
FRIDAY = datetime(
    2026, 3, 6, 19, 30, tzinfo=UTC
)  # an afternoon in New York; Sunday the clocks change
PEOPLE = 5000
ZONES = ("America/New_York", "America/Chicago", "America/Los_Angeles", "Pacific/Honolulu")
# Configured cap and how long ago it was paired: two are warming up.
PHONES = ((200, 400), (200, 60), (150, 45), (120, 30), (200, 16), (200, 5))
WINDOW = e.SendWindow(
    days=(0, 1, 2, 3, 4, 5), start="09:00", end="20:00", timezone="America/New_York"
)
CAMPAIGN = ids.derive("cmp", "forecast")
AUDIENCE = ids.derive("aud", "forecast")


def phone_id(n: int) -> str:
    return ids.derive("phn", "forecast", str(n))


def given(world: Virtual) -> list[str]:
    """A workspace with six phones, five thousand people and twenty texts that come first."""
    world.say(e.WorkspaceCreated(workspace_id=world.id, name="Acme", timezone="America/New_York"))
    for n, (cap, days) in enumerate(PHONES):
        start, world.now = world.now, world.now - timedelta(days=days)
        world.say(
            e.PhonePaired(
                phone_id=phone_id(n),
                generation=1,
                device_hash=str(n),
                label=f"Phone {n}",
                manufacturer="Acme",
                model="One",
                android="15",
                app_version="1",
                sims=(e.Sim(subscription_id=1, iccid_hash=str(n)),),
            )
        )
        world.now = start
        world.say(
            e.PhoneConfigured(
                phone_id=phone_id(n),
                label=f"Phone {n}",
                min_gap_s=300 if n == 3 else 240,
                daily_cap=cap,
                warmup=True,
            ),
            e.PhoneOnline(phone_id=phone_id(n)),
        )
    chance = random.Random(5)
    people = [ids.derive("con", "forecast", str(n)) for n in range(PEOPLE)]
    for n, one in enumerate(people):
        zone = chance.choices(ZONES, (50, 30, 15, 5))[0]
        told = {"to": f"+1212555{n:04d}", "timezone": zone, "body": f"Hello {n}", "parts": 1}
        world.people[one] = told
        if n % 10 == 0:
            world.say(
                e.ReplyReceived(
                    message_id=ids.new("msg"),
                    contact_id=one,
                    conversation_id=ids.conversation_id(one),
                    phone_id=phone_id(n // 10 % 6),
                    sender=told["to"],
                    sender_kind="number",
                    body="Hi",
                    parts=1,
                    received_at=world.now,
                )
            )
    for n in range(20):
        world.say(
            e.SendRequested(
                message_id=ids.derive("msg", "first", str(n)),
                contact_id=ids.derive("con", "first", str(n)),
                to="+12125559999",
                body="First",
                parts=1,
                source="api",
                timezone="America/New_York",
                expires_at=world.now + timedelta(hours=72),
            )
        )
    return people


def foreseen(world: Virtual, people: list[str]) -> forecast.Forecast:
    account = account_of(world.rows.all(WORKSPACE)[0])
    phones = {row.id: handset_of(row) for row in world.rows.all(PHONE)}
    known = {f"{n}": phone_id(n // 10 % 6) for n in range(0, PEOPLE, 10)}
    groups: Counter[tuple[int, str | None]] = Counter()
    for n, one in enumerate(people):
        clock = ZONES.index(world.people[one]["timezone"])
        groups[clock, known.get(str(n))] += 1
    question: dict[str, Any] = {
        "campaign": {
            "id": CAMPAIGN,
            "phone_ids": [],
            "send_window": {
                "days": list(WINDOW.days),
                "start": WINDOW.start,
                "end": WINDOW.end,
                "timezone": WINDOW.timezone,
            },
            "failover_s": None,
            "start_at": None,
            "test": False,
        },
        "clocks": [[zone] for zone in ZONES],
        "groups": [[clock, phone, 1, n] for (clock, phone), n in groups.items()],
    }
    queued = [{"queue": world.id, "due": world.now, "count": 20}]
    clockwork = forecast.prepared(decide.Desk(account, phones), question, queued, [], world.now)
    for found in clockwork.run():
        if found is not None:
            return found
    raise AssertionError("nothing was found")


async def test_forecast_and_reality_agree_day_by_day() -> None:
    world = Virtual(FRIDAY)
    people = given(world)
    expected = foreseen(world, people)
    world.say(
        e.CampaignCreated(
            campaign_id=CAMPAIGN,
            name="Spring",
            template="Hello",
            contact_filter=e.ContactFilter(),
            send_window=WINDOW,
        ),
        *(
            e.CampaignAudience(
                campaign_id=CAMPAIGN,
                audience_id=AUDIENCE,
                part=n,
                contact_ids=tuple(people[n * 1000 : n * 1000 + 1000]),
            )
            for n in range(-(-len(people) // 1000))
        ),
        e.CampaignStarted(campaign_id=CAMPAIGN, audience_id=AUDIENCE, recipients=len(people)),
    )
    await world.start()
    await world.run(until=lambda: world.of("campaign.completed"))
    fed = {event.data.message_id for event in world.of("send.requested")}
    sent = [event for event in world.of("send.dispatched") if event.data.source == "campaign"]
    assert len({event.data.message_id for event in sent}) == len(sent) == PEOPLE
    assert len(fed) == PEOPLE + 20
    real = Counter((event.at.astimezone(NEW_YORK).date(), event.data.phone_id) for event in sent)
    assert expected.finish_at is not None
    assert expected.messages == PEOPLE
    assert sum(expected.by_day.values()) == PEOPLE
    days = sorted({day for day, _ in real} | {day for day, _ in expected.by_day})
    told = [(str(day), _day(expected.by_day, day), _day(real, day)) for day in days]
    for day, foretold, happened in told:
        assert abs(foretold - happened) <= 26, (day, told)  # 3 % of a full day
    for key in real.keys() | expected.by_day.keys():
        off = abs(real.get(key, 0) - expected.by_day.get(key, 0))
        assert off <= 10, (key, told)
    assert abs(expected.finish_at - sent[-1].at) <= timedelta(minutes=45)


def _day(counts: Any, wanted: date) -> int:
    return sum(n for (day, _), n in counts.items() if day == wanted)
