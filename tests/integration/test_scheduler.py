"""The scheduler on the real log and database: which phone, when, and why not yet."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.scheduler import policy
from shared import events as e
from shared import ids
from shared.errors import Refused
from shared.log import Guard
from tests.programs import Program
from tests.scheduler import NOON, World
from tests.tiny import until


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[World]:
    async with World(database_url, nats_server) as made:
        yield made


# -- dispatching -----------------------------------------------------------------------------------


async def test_a_wish_becomes_a_command_for_a_phone(world: World) -> None:
    phone = await world.phone("one")
    wish = await world.send("a", subscription_id=1)
    event = await world.dispatched(wish)
    data = event.data
    assert (data.phone_id, data.attempt, data.to, data.body) == (phone, 1, wish.to, wish.body)
    assert data.command_id == ids.command_id(wish.message_id, 1)
    assert (data.subscription_id, data.expires_at) == (1, wish.expires_at)
    assert event.subject == f"send.dispatched.{world.id}.{wish.contact_id}"
    await world.settled()
    assert [one.type for one in await world.events("send", of=wish)] == [
        "send.requested",
        "send.dispatched",
    ]
    assert await world.explain(wish) is None


async def test_hundreds_of_wishes_are_dispatched_once_each_over_all_phones(world: World) -> None:
    phones = [await world.phone(f"p{n}", simulated=True) for n in range(10)]
    wishes = [world.wish(str(n)) for n in range(400)]
    await world.say(*wishes)

    async def all_gone() -> bool:
        count = len(await world.sent())
        await world.forward(seconds=61)  # no more than 24 parts a minute
        return count >= 400

    await until("all are dispatched", all_gone)
    events = await world.events("send.dispatched")
    assert Counter(one.data.message_id for one in events) == {w.message_id: 1 for w in wishes}
    used = Counter(one.data.phone_id for one in events)
    assert set(used) == set(phones)


async def test_a_phone_is_handed_a_few_commands_and_the_next_when_it_submits(
    database_url: str, nats_server: NatsServer
) -> None:
    async with World(database_url, nats_server, window=2) as world:
        await world.phone("one")
        wishes = [await world.send(str(n)) for n in range(5)]
        first = await world.until("send.dispatched", count=2)
        await world.settled()
        assert len(await world.events("send.dispatched")) == 2
        await world.says(e.SmsSubmitted, first[0])
        await world.until("send.dispatched", count=3)
        waiting = await world.waits_for(wishes[4], "queue")
        assert waiting["position"] == 2
        await world.says(e.SmsCancelled, first[1])
        await world.until("send.dispatched", count=4)


async def test_the_contacts_own_phone_is_kept(world: World) -> None:
    await world.phone("one")
    two = await world.phone("two")
    wish = world.wish("a")
    await world.knows(wish, two)
    for n in range(4):
        again = await world.send(str(n), contact_id=wish.contact_id)
        assert (await world.dispatched(again)).data.phone_id == two


async def test_a_text_for_a_removed_phone_is_refused_and_others_find_another(world: World) -> None:
    one = await world.phone("one", online=False)
    named = [await world.send(f"n{n}", phone_id=one) for n in range(40)]
    later = await world.send("later", phone_id=one, send_at=NOON + timedelta(hours=1))
    await world.settled()
    await world.say(e.PhoneUnpaired(phone_id=one))
    rejected = await world.until("send.rejected", count=40)
    assert {r.data.code for r in rejected} == {"phone_unpaired"}
    assert {r.data.message_id for r in rejected} == {w.message_id for w in named}
    await world.forward(hours=1)
    assert (await world.until("send.rejected", later))[0].data.code == "phone_unpaired"


async def test_what_a_removed_phone_held_is_quarantined_and_its_line_moves_on(
    world: World,
) -> None:
    one = await world.phone("one", min_gap_s=240)
    out = await world.send("out")
    await world.dispatched(out)
    in_line = await world.send("in_line", contact_id=out.contact_id)
    tomorrow = await world.send(
        "tomorrow", contact_id=out.contact_id, send_at=NOON + timedelta(days=1)
    )
    await world.waits_for(in_line, "min_gap")
    two = await world.phone("two")
    await world.say(e.PhoneUnpaired(phone_id=one))
    assert (await world.dispatched(in_line)).data.phone_id == two
    await world.held(out, "quarantined")
    await world.phone("three")
    await world.forward(days=1)
    assert (await world.dispatched(tomorrow)).data.phone_id == two


# -- consent ---------------------------------------------------------------------------------------


async def test_who_opted_out_gets_nothing(world: World) -> None:
    await world.phone("one")
    wish = world.wish("a")
    await world.opt_out(wish)
    await world.say(wish)
    assert (await world.until("send.rejected", wish))[0].data.code == "recipient_opted_out"
    await world.say(e.ContactOptedIn(contact_id=wish.contact_id, number=wish.to, source="keyword"))
    again = await world.send("again", contact_id=wish.contact_id)
    await world.dispatched(again)


async def test_a_stop_between_decision_and_record_wins(world: World) -> None:
    """The decision is made on rows without the STOP, which is in the log already."""
    assert world.context is not None
    await world.phone("one")
    wish = world.wish("a")
    log, projector = world.context.log, world.context.projector
    real, stopped = log.submit, list[bool]()

    def submit(event: e.Event, guard: Guard | None = None) -> asyncio.Future[int]:
        if event.type == "send.dispatched" and not stopped:
            stopped.append(True)
            return asyncio.ensure_future(after_the_stop(event, guard))
        return real(event, guard)

    async def after_the_stop(event: e.Event, guard: Guard | None) -> int:
        await world.opt_out(wish)
        return await real(event, guard)

    log.submit = submit
    await world.say(wish)
    rejected = (await world.until("send.rejected", wish))[0]
    assert rejected.data.code == "recipient_opted_out"
    await world.settled()
    assert await world.events("send.dispatched") == []
    assert stopped
    assert projector.status.failed is None
    other = await world.send("b")
    await world.dispatched(other)  # the slot that was not used is free


async def test_stops_and_wishes_at_once_never_end_in_a_text_after_the_stop(world: World) -> None:
    await world.phone("one", simulated=True)
    for n in range(60):
        wish = world.wish(str(n))
        await asyncio.gather(world.say(wish), world.opt_out(wish))
        await world.forward(seconds=61)
    await until("all are decided", lambda: _decided(world, 60))
    for n in range(60):
        of = [one.type for one in await world.events("send", "contact", of=world.wish(str(n)))]
        contact = world.wish(str(n)).contact_id
        records = await world.log.history([f"*.*.{world.id}.{contact}"])
        types = [e.decode(r.data).type for r in records]
        assert len({"send.dispatched", "send.rejected"} & set(of)) == 1, types
        if "send.dispatched" in types:
            assert types.index("send.dispatched") < types.index("contact.opted_out"), types


async def _decided(world: World, count: int) -> bool:
    await world.sent()
    done = await world.events("send.dispatched", "send.rejected")
    return len({one.data.message_id for one in done}) == count


# -- pace and limits -------------------------------------------------------------------------------


async def test_a_gap_lies_between_the_texts_of_a_phone(world: World) -> None:
    await world.phone("one", min_gap_s=240)
    first, second = await world.send("1"), await world.send("2")
    await world.says(e.SmsSent, await world.dispatched(first))
    waiting = await world.waits_for(second, "min_gap")
    assert "240 seconds" in waiting["detail"]
    assert datetime.fromisoformat(waiting["until"]) == NOON + timedelta(seconds=240)
    await world.forward(seconds=239)
    await world.settled()
    assert len(await world.events("send.dispatched")) == 1
    await world.forward(seconds=1)
    await world.dispatched(second)


async def test_the_cap_is_for_the_workspaces_own_day(world: World) -> None:
    await world.profile(timezone="America/Los_Angeles", quiet_hours=None)
    await world.phone("one", daily_cap=2)
    wishes = [await world.send(str(n), expires_at=NOON + timedelta(days=3)) for n in range(5)]
    for event in await world.until("send.dispatched", count=2):
        await world.says(e.SmsSent, event)
    midnight = datetime(2026, 3, 3, 8, tzinfo=UTC)
    waiting = await world.waits_for(wishes[2], "daily_cap")
    assert datetime.fromisoformat(waiting["until"]) == midnight
    assert "limit of 2 texts" in waiting["detail"]
    assert (await world.held(wishes[2], "daily_cap")).data.until == midnight
    await world.forward(hours=20)
    for event in (await world.until("send.dispatched", count=4))[2:]:
        await world.says(e.SmsSent, event)
    phones = (await world.ask("phones"))["phones"]
    assert [p["sent_today"] for p in phones.values()] == [2]


async def test_a_dispatch_never_submitted_gives_its_place_back(world: World) -> None:
    await world.phone("one", daily_cap=1)
    first, second = await world.send("1"), await world.send("2")
    event = await world.dispatched(first)
    await world.waits_for(second, "daily_cap")
    await world.say(e.SendCancelRequested(message_id=first.message_id, contact_id=first.contact_id))
    await world.says(e.SmsCancelled, event)
    await world.dispatched(second)
    await world.until("send.cancelled", first)


async def test_a_raised_cap_counts_at_once(world: World) -> None:
    phone = await world.phone("one", daily_cap=1)
    first, second = await world.send("1"), await world.send("2")
    await world.says(e.SmsSent, await world.dispatched(first))
    await world.held(second, "daily_cap")
    await world.say(
        e.PhoneConfigured(phone_id=phone, label="One", min_gap_s=0, daily_cap=5, warmup=False)
    )
    await world.dispatched(second)


async def test_the_confirmation_overtakes_and_ignores_gap_quiet_hours_and_the_opt_out(
    world: World,
) -> None:
    await world.profile(quiet_hours=e.QuietHours(start="00:00", end="23:59"))
    phone = await world.phone("one", min_gap_s=240)
    waiting = await world.send("waiting", phone_id=phone)
    await world.held(waiting, "quiet_hours")
    for n in range(2):
        stopped = world.wish(
            f"stop{n}", source="confirmation", expires_at=NOON + timedelta(minutes=5)
        )
        await world.opt_out(stopped)
        await world.say(stopped)
        await world.dispatched(stopped)
    await world.settled()
    assert len(await world.events("send.dispatched")) == 2


async def test_a_confirmation_nobody_can_send_in_time_is_dropped(world: World) -> None:
    await world.phone("one", online=False)
    wish = await world.send("a", source="confirmation", expires_at=NOON + timedelta(minutes=5))
    await world.settled()
    await world.forward(minutes=5)
    assert (await world.until("send.expired", wish))[0].data.waited_for == "phone_offline"


async def test_people_come_before_machines_and_machines_before_campaigns(world: World) -> None:
    phone = await world.phone("one", online=False)
    order = ["campaign", "api", "inbox", "api", "confirmation"]
    wishes = [
        await world.send(f"{n}", source=source, phone_id=phone) for n, source in enumerate(order)
    ]
    await world.settled()
    await world.say(
        e.PhoneConfigured(phone_id=phone, label="One", min_gap_s=240, daily_cap=99, warmup=False),
        e.PhoneOnline(phone_id=phone),
    )
    for n in range(5):
        event = (await world.until("send.dispatched", count=n + 1))[n]
        await world.says(e.SmsSent, event)
        await world.settled()
        await world.forward(seconds=240)
    went = [one.data.message_id for one in await world.events("send.dispatched")]
    assert went == [wishes[n].message_id for n in (4, 2, 1, 3, 0)]


async def test_texts_of_a_test_key_stand_in_nobodys_way(world: World) -> None:
    """Without a simulated phone online they wait, however many: live ones go past them."""
    for n in range(50):
        await world.send(f"t{n}", test=True)
    await world.settled()
    await world.phone("real")
    live = await world.send("live")
    await world.says(e.SmsSent, await world.dispatched(live))
    first = world.wish("t0")
    waiting = await world.waits_for(first, "no_phone")
    assert "Add a phone" in waiting["detail"]
    simulated = await world.phone("simulated", simulated=True)
    assert (await world.dispatched(first)).data.phone_id == simulated


# -- time ------------------------------------------------------------------------------------------


async def test_a_scheduled_text_goes_at_its_time(world: World) -> None:
    await world.phone("one")
    at = NOON + timedelta(hours=2)
    wishes = [await world.send(str(n), send_at=at + timedelta(minutes=n)) for n in range(3)]
    waiting = await world.waits_for(wishes[0], "scheduled")
    assert datetime.fromisoformat(waiting["until"]) == at
    assert "14:00 on 02 March 2026 (UTC)" in waiting["detail"]
    for n, wish in enumerate(wishes):
        await world.forward(minutes=120 if n == 0 else 1)
        await world.dispatched(wish)
        assert len(await world.events("send.dispatched")) == n + 1


async def test_quiet_hours_hold_a_text_and_release_it(world: World) -> None:
    await world.profile(quiet_hours=e.QuietHours(start="21:00", end="08:00"))
    await world.phone("one")
    wish = await world.send("a", timezone="Asia/Tokyo")  # 21:00 there
    event = await world.held(wish, "quiet_hours")
    opens_at = datetime(2026, 3, 2, 23, tzinfo=UTC)
    spread = timedelta(seconds=policy.RELEASE_SPREAD_S)
    assert opens_at <= event.data.until <= opens_at + spread
    assert "quiet hours" in (await world.waits_for(wish, "quiet_hours"))["detail"]
    await world.forward(hours=11)
    await world.settled()
    await world.forward(minutes=10)
    await world.dispatched(wish)


async def test_hundreds_held_for_the_night_all_go_in_the_morning(world: World) -> None:
    await world.profile(quiet_hours=e.QuietHours(start="11:00", end="13:00"))
    phones = [await world.phone(f"p{n}", simulated=True) for n in range(3)]
    wishes = [world.wish(str(n), timezone="UTC", phone_id=phones[n % 3]) for n in range(200)]
    await world.say(*wishes)
    await world.until("send.held", count=200)
    await world.settled()
    assert await world.events("send.dispatched") == []
    await world.forward(minutes=70)

    async def all_gone() -> bool:
        events = await world.sent()
        await world.forward(seconds=61)
        return len(events) == 200

    await until("all are dispatched", all_gone)


async def test_an_expired_text_says_what_it_waited_for(world: World) -> None:
    wishes = [
        await world.send(str(n), expires_at=NOON + timedelta(minutes=1 + n % 3)) for n in range(30)
    ]
    await world.held(wishes[29], "no_phone")
    await world.forward(minutes=1)
    await world.until("send.expired", count=10)
    await world.forward(minutes=2)
    expired = await world.until("send.expired", count=30)
    assert {one.data.waited_for for one in expired} == {"no_phone"}
    await world.phone("one")
    await world.settled()
    assert await world.events("send.dispatched") == []


async def test_a_command_nobody_accepts_is_recalled_when_it_expires_and_given_up_a_day_later(
    world: World,
) -> None:
    await world.phone("one")
    wish = await world.send("a", expires_at=NOON + timedelta(hours=1))
    event = await world.dispatched(wish)
    await world.forward(hours=1)
    recall = (await world.until("send.cancel_requested", wish))[0].data
    assert (recall.reason, recall.command_id) == ("expired", event.data.command_id)
    await world.forward(hours=23)
    await world.settled()
    assert await world.events("send.expired") == []
    await world.forward(hours=1)
    expired = (await world.until("send.expired", wish))[0].data
    assert (expired.waited_for, expired.phone_id) == ("phone_offline", event.data.phone_id)
    await world.settled()
    phones = await world.query("SELECT in_flight FROM phone")
    assert [row["in_flight"] for row in phones] == [0]


async def test_commands_a_lost_phone_had_accepted_hold_up_no_other_expiry(world: World) -> None:
    await world.phone("one", simulated=True)
    lost = [world.wish(f"lost{n}", expires_at=NOON + timedelta(hours=1)) for n in range(4)]
    await world.say(*lost)
    for event in await world.until("send.dispatched", count=4):
        await world.says(e.SmsAccepted, event)
    await world.forward(hours=30)
    await world.until("send.cancel_requested", count=4)
    other = await world.send("other", expires_at=world.clock.now() + timedelta(hours=1))
    await world.settled()
    await world.forward(hours=1)
    await world.until("send.expired", other)


# -- what becomes of commands ----------------------------------------------------------------------


async def test_a_passing_failure_is_tried_three_times_with_new_commands(world: World) -> None:
    await world.phone("one")
    wish = await world.send("a")
    commands: list[str] = []
    for attempt, minutes in ((1, 1), (2, 10)):
        event = await world.dispatched(wish, attempt)
        commands.append(event.data.command_id)
        await world.fails(event, "transient")
        held = (await world.until("send.held", wish, attempt))[-1]
        assert held.data.reason == "retry"
        assert held.data.until == world.clock.now() + timedelta(minutes=minutes)
        assert "tried again" in (await world.waits_for(wish, "retry"))["detail"]
        await world.forward(minutes=minutes)
    last = await world.dispatched(wish, 3)
    commands.append(last.data.command_id)
    assert len(set(commands)) == 3
    await world.fails(last, "transient")
    await world.settled()
    assert (await world.row(wish))["state"] == "final"
    assert len(await world.events("send.dispatched")) == 3


async def test_what_nobody_knows_waits_for_a_person_who_may_want_it_again(world: World) -> None:
    await world.phone("one")
    wish = await world.send("a")
    event = await world.dispatched(wish)
    await world.says(e.SmsSubmitted, event)
    await world.fails(event, "ambiguous")
    await world.held(wish, "quarantined")
    waiting = await world.waits_for(wish, "quarantined")
    assert "may or may not have been sent" in waiting["detail"]
    parked = await world.ask("parked")
    assert [one["id"] for one in parked] == [wish.message_id]
    await world.forward(hours=5)
    await world.settled()
    assert len(await world.events("send.dispatched")) == 1
    resolve = {"message_id": wish.message_id, "contact_id": wish.contact_id}
    await world.say(e.SendResolved(**resolve, decision="retry"))
    assert (await world.dispatched(wish, 2)).data.attempt == 2
    assert await world.ask("parked") == []


async def test_or_not(world: World) -> None:
    await world.phone("one")
    wish = await world.send("a")
    await world.says(e.SmsUnknown, await world.dispatched(wish))
    await world.held(wish, "quarantined")
    resolve = {"message_id": wish.message_id, "contact_id": wish.contact_id}
    await world.say(e.SendResolved(**resolve, decision="drop"))
    await world.settled()
    assert (await world.row(wish))["state"] == "final"
    assert await world.ask("parked") == []


async def test_a_workspace_can_want_unknown_ones_sent_again_within_three_attempts(
    world: World,
) -> None:
    await world.profile(quiet_hours=None, resend_unknown=True)
    await world.phone("one")
    wish = await world.send("a")
    for attempt in (1, 2, 3):
        await world.says(e.SmsUnknown, await world.dispatched(wish, attempt))
    await world.held(wish, "quarantined")
    assert len(await world.events("send.dispatched")) == 3


async def test_hundreds_opened_at_once_are_all_settled(world: World) -> None:
    """More than one step takes: the rest must not wait for another failure."""
    one = await world.phone("one", simulated=True)
    wishes = [world.wish(str(n)) for n in range(1100)]
    await world.say(*wishes)
    await world.end()
    facts = [
        world.event(
            e.SendDispatched(
                message_id=w.message_id,
                contact_id=w.contact_id,
                command_id=ids.command_id(w.message_id, 1),
                phone_id=one,
                attempt=1,
                to=w.to,
                body=w.body,
                parts=1,
                source="api",
                expires_at=w.expires_at,
            )
        )
        for w in wishes
    ]
    await world.log.append_many(facts)
    await world.say(e.PhoneUnpaired(phone_id=one))
    await world.begin()
    done = await world.events("send.dispatched")
    expected = len({event.data.message_id for event in done})
    await world.until("send.held", count=expected)
    assert expected == 1100


# -- taking back -----------------------------------------------------------------------------------


def taken_back(wish: e.SendRequested) -> e.SendCancelRequested:
    return e.SendCancelRequested(message_id=wish.message_id, contact_id=wish.contact_id)


async def test_a_waiting_text_is_taken_back(world: World) -> None:
    wish = await world.send("a")
    await world.held(wish, "no_phone")
    await world.say(taken_back(wish))
    await world.until("send.cancelled", wish)
    await world.phone("one")
    await world.settled()
    assert await world.events("send.dispatched") == []


async def test_a_dispatched_one_is_taken_back_when_the_phone_confirms(world: World) -> None:
    await world.phone("one")
    wish = await world.send("a")
    event = await world.dispatched(wish)
    await world.say(taken_back(wish))
    await world.settled()
    assert await world.events("send.cancelled") == []
    await world.says(e.SmsCancelled, event)
    await world.until("send.cancelled", wish)


async def test_or_it_was_out_already(world: World) -> None:
    await world.phone("one")
    wish = await world.send("a")
    event = await world.dispatched(wish)
    await world.say(taken_back(wish))
    await world.says(e.SmsSubmitted, event)
    await world.says(e.SmsSent, event)
    await world.settled()
    assert await world.events("send.cancelled") == []
    assert (await world.row(wish))["state"] == "final"


async def test_taken_back_between_decision_and_record_the_command_is_recalled(
    world: World,
) -> None:
    assert world.context is not None
    await world.phone("one")
    log = world.context.log
    real = log.submit
    wish = world.wish("a")
    first = list[bool]()

    def submit(event: e.Event, guard: Guard | None = None) -> asyncio.Future[int]:
        if event.type == "send.dispatched" and not first:
            first.append(True)
            return asyncio.ensure_future(after_the_cancellation(event, guard))
        return real(event, guard)

    async def after_the_cancellation(event: e.Event, guard: Guard | None) -> int:
        seq = await world.say(taken_back(wish))
        assert world.context is not None
        assert await world.context.projector.passed(seq, 60)
        await asyncio.sleep(0.1)  # it looks at what is open meanwhile
        return await real(event, guard)

    log.submit = submit
    await world.say(wish)
    event = await world.dispatched(wish)
    recalls = await world.until("send.cancel_requested", wish, 2)
    assert (recalls[1].data.reason, recalls[1].data.command_id) == (
        "user",
        event.data.command_id,
    )
    assert await world.events("send.cancelled") == []
    await world.says(e.SmsCancelled, event)
    await world.until("send.cancelled", wish)


async def test_what_failed_after_it_was_taken_back_is_not_tried_again(world: World) -> None:
    await world.phone("one")
    wish = await world.send("a")
    event = await world.dispatched(wish)
    await world.say(taken_back(wish))
    await world.fails(event, "transient")
    await world.until("send.cancelled", wish)


# -- silent phones ---------------------------------------------------------------------------------


async def test_a_silent_phones_line_waits_for_it_and_moves_when_the_workspace_says_so(
    world: World,
) -> None:
    one = await world.phone("one", online=False, simulated=True)
    line = [world.wish(f"{n}") for n in range(70)]
    for wish in line:
        await world.knows(wish, one)
    await world.say(*line)
    waiting = await world.waits_for(line[0], "phone_offline")
    assert waiting["detail"].startswith("“One” is offline")
    two = await world.phone("two", simulated=True)
    await world.settled()
    assert await world.events("send.dispatched") == []
    await world.profile(quiet_hours=None, failover_s=600)
    waiting = await world.waits_for(line[0], "failover_wait")
    assert "another phone takes over at 12:10" in waiting["detail"]
    await world.forward(minutes=10)

    async def all_moved() -> bool:
        events = await world.sent()
        await world.forward(seconds=61)
        return {event.data.phone_id for event in events} == {two} and len(events) == 70

    await until("the whole line moved", all_moved)


async def test_failover_comes_in_time_after_a_restart_too(world: World) -> None:
    await world.profile(quiet_hours=None, failover_s=600)
    one = await world.phone("one", online=False)
    waiting = await world.send("a", source="campaign")
    known = world.wish("b", contact_id=waiting.contact_id)
    await world.say(
        e.PhoneOnline(phone_id=one),
    )
    await world.says(e.SmsSent, await world.dispatched(waiting))
    await world.say(e.PhoneOffline(phone_id=one))
    await world.say(known)
    await world.waits_for(known, "failover_wait")
    two = await world.phone("two")
    await world.end()
    await world.begin()
    await world.settled()
    await world.forward(minutes=10)
    assert (await world.dispatched(known)).data.phone_id == two


async def test_a_command_a_silent_phone_never_accepted_is_recalled_after_its_lease(
    world: World,
) -> None:
    await world.profile(quiet_hours=None, failover_s=60)
    one = await world.phone("one")
    campaign = await world.send("a")
    event = await world.dispatched(campaign)
    await world.say(e.PhoneOffline(phone_id=one))
    two = await world.phone("two")
    await world.forward(seconds=61)
    await world.settled()
    assert await world.events("send.cancel_requested") == []  # its lease is five minutes
    await world.forward(seconds=240)
    recall = (await world.until("send.cancel_requested", campaign))[0].data
    assert (recall.reason, recall.command_id) == ("failover", event.data.command_id)
    await world.settled()
    assert len(await world.events("send.dispatched")) == 1  # without proof it waits
    await world.says(e.SmsCancelled, event, proof="inventory")
    assert (await world.dispatched(campaign, 2)).data.phone_id == two


async def test_a_phone_that_comes_back_gets_its_line_back(world: World) -> None:
    one = await world.phone("one")
    first = await world.send("a")
    await world.says(e.SmsSent, await world.dispatched(first))
    await world.say(e.PhoneOffline(phone_id=one))
    again = await world.send("b", contact_id=first.contact_id)
    await world.held(again, "phone_offline")
    await world.say(e.PhoneOnline(phone_id=one))
    assert (await world.dispatched(again)).data.phone_id == one


# -- questions -------------------------------------------------------------------------------------


async def test_every_wait_is_explained_in_words(world: World) -> None:
    nobody = await world.send("nobody")
    assert "Add a phone" in (await world.waits_for(nobody, "no_phone"))["detail"]
    one = await world.phone("one", online=False)
    assert "offline" in (await world.waits_for(nobody, "phone_offline"))["detail"]
    await world.say(
        e.PhoneConfigured(phone_id=one, label="One", min_gap_s=240, daily_cap=99, warmup=False),
        e.PhoneOnline(phone_id=one),
    )
    await world.says(e.SmsSent, await world.dispatched(nobody))
    wishes = [await world.send(str(n), phone_id=one) for n in range(3)]
    assert "gap" in (await world.waits_for(wishes[0], "min_gap"))["detail"]
    second = await world.waits_for(wishes[1], "queue")
    assert second["position"] == 2
    assert second["detail"].startswith("1 message is ahead of it on “One”.")
    third = await world.waits_for(wishes[2], "queue")
    assert third["position"] == 3
    assert third["detail"].startswith("2 messages are ahead of it")
    assert third["until"] > second["until"]


async def test_what_is_not_due_yet_is_nobodys_position(world: World) -> None:
    phone = await world.phone("one", min_gap_s=240)
    await world.says(e.SmsSent, await world.dispatched(await world.send("first")))
    later = NOON + timedelta(days=1)
    await world.send("inbox tomorrow", source="inbox", phone_id=phone, send_at=later)
    now = await world.send("api now", phone_id=phone)
    await world.waits_for(now, "min_gap")


async def test_a_message_of_another_workspace_is_not_found(
    world: World, database_url: str, nats_server: NatsServer
) -> None:
    wish = await world.send("a")
    await world.waits_for(wish, "no_phone")
    mine, world.id = world.id, ids.new("ws")
    with pytest.raises(Refused) as refused:
        await world.explain(wish)
    assert refused.value.problem["status"] == 404
    assert await world.ask("parked") == []
    assert (await world.ask("phones"))["phones"] == {}
    world.id = mine


async def test_a_preview_says_what_would_happen_and_stores_nothing(world: World) -> None:
    wish = world.wish("a")
    asked = {"contact_id": wish.contact_id, "to": wish.to, "source": "api", "parts": 1}
    nobody = await world.ask("preview", **asked)
    assert nobody["waiting"]["reason"] == "no_phone"
    phone = await world.phone("one", min_gap_s=240)

    async def goes() -> bool:
        answer = await world.ask("preview", **asked)
        return answer["phone_id"] == phone and answer["waiting"] is None

    await until("it would go", goes)
    await world.says(e.SmsSent, await world.dispatched(await world.send("first")))

    async def waits() -> bool:
        return ((await world.ask("preview", **asked))["waiting"] or {}).get("reason") == "min_gap"

    await until("it would wait for the gap", waits)
    at = (NOON + timedelta(hours=3)).isoformat()
    later = await world.ask("preview", **asked, send_at=at)
    assert (later["waiting"]["reason"], later["rejected"]) == ("scheduled", None)
    gone = await world.ask("preview", **asked, phone_id="phn_gone")
    assert gone["rejected"]["code"] == "phone_unpaired"
    await world.opt_out(wish)

    async def refused() -> bool:
        answer = await world.ask("preview", **asked)
        return (answer["rejected"] or {}).get("code") == "recipient_opted_out"

    await until("it would be refused", refused)
    assert len(await world.events("send.requested")) == 1


async def test_phones_tell_caps_counts_ages_and_slots(world: World) -> None:
    one = await world.phone("one", min_gap_s=240, warmup=True)
    two = await world.phone("two", online=False)
    await world.says(e.SmsSent, await world.dispatched(await world.send("a")))
    await world.settled()
    phones = (await world.ask("phones"))["phones"]
    assert phones[one]["effective_daily_cap"] == 50
    assert (phones[one]["sent_today"], phones[one]["age_days"]) == (1, 1)
    next_at = datetime.fromisoformat(phones[one]["next_slot_at"])
    assert next_at == NOON + timedelta(seconds=240)
    assert phones[two]["next_slot_at"] is None
    assert set((await world.ask("phones", phone_ids=[two]))["phones"]) == {two}


async def test_loosening_a_limit_is_warned_about_in_words(world: World) -> None:
    safe = {"min_gap_s": 240, "daily_cap": 200, "warmup": True}
    change = {"current": safe, "wanted": {**safe, "min_gap_s": 10}}
    answer = await world.ask("loosenings", phone=change)
    assert "every 10 seconds" in answer["warnings"][0]
    quiet = {"quiet_hours": {"start": "21:00", "end": "08:00"}}
    change = {"current": quiet, "wanted": {"quiet_hours": None}}
    assert "any hour" in (await world.ask("loosenings", workspace=change))["warnings"][0]
    change = {"current": quiet, "wanted": quiet}
    assert (await world.ask("loosenings", workspace=change))["warnings"] == []


# -- crashes and company ---------------------------------------------------------------------------


async def test_killed_again_and_again_it_dispatches_each_text_once_per_attempt(
    tmp_path: Path, database_url: str, nats_server: NatsServer
) -> None:
    async with World(database_url, nats_server, tmp_path) as world:
        program = world.start(EIGHTMS_UNPACED_SIMULATION="true", EIGHTMS_PHONE_WINDOW="50")
        for n in range(5):
            await world.phone(f"p{n}", simulated=True)
        over, answered = asyncio.Event(), set[str]()

        async def phones() -> None:
            """Phones submit and send what they get; every tenth fails the first time."""
            while not over.is_set():
                for event in await world.events("send.dispatched"):
                    if event.id in answered:
                        continue
                    answered.add(event.id)
                    if event.data.attempt == 1 and hash(event.data.message_id) % 10 == 0:
                        await world.says(e.SmsUnknown, event)
                    else:
                        await world.says(e.SmsSent, event)
                await asyncio.sleep(0.02)

        await world.profile(quiet_hours=None, resend_unknown=True)
        acting = asyncio.create_task(phones())
        wishes = [world.wish(str(n)) for n in range(500)]
        for start in range(0, 500, 50):
            await world.say(*wishes[start : start + 50])
            done = len(await world.events("send.dispatched"))
            await world.until("send.dispatched", count=done + 10)
            program.kill()
            program.start()

        async def all_final() -> bool:
            rows = await world.query("SELECT count(*) AS n FROM message WHERE state = 'final'")
            return rows[0]["n"] == 500

        await until("every message is final", all_final)
        over.set()
        await acting
        events = await world.events("send.dispatched")
        commands = Counter(event.data.command_id for event in events)
        assert max(commands.values()) == 1
        attempts = Counter(event.data.message_id for event in events)
        assert set(attempts) == {wish.message_id for wish in wishes}
        failed = {one.data.message_id for one in await world.events("sms.unknown")}
        assert {m for m, count in attempts.items() if count == 2} == failed
        assert max(attempts.values()) <= 2


async def test_of_two_instances_one_acts_and_the_other_takes_over(
    tmp_path: Path, database_url: str, nats_server: NatsServer
) -> None:
    async with World(database_url, nats_server, tmp_path) as world:
        env = {"EIGHTMS_UNPACED_SIMULATION": "true", "EIGHTMS_PHONE_WINDOW": "1000"}
        programs = [world.start(name, **env) for name in ("one", "two")]
        for n in range(3):
            await world.phone(f"p{n}", simulated=True)
        total = 0
        for _ in range(6):
            await world.say(*(world.wish(str(total + n)) for n in range(50)))
            total += 50
            leading = await until("one leads", lambda: _leader(programs))
            leading.kill()
            leading.start()
        events = await world.until("send.dispatched", count=total)
        await asyncio.sleep(0.5)  # whoever would dispatch twice has had the time
        events = await world.events("send.dispatched")
        assert Counter(e.data.message_id for e in events).most_common(1)[0][1] == 1
        assert len(events) == total
        # One started a moment ago may be told to stop before it can hear: the signal ends it.
        assert {await program.stop() for program in programs} <= {0, -signal.SIGTERM}


def _leader(programs: list[Program]) -> Program | None:
    for program in programs:
        text = program.log()
        if text.rfind('"leading"') > text.rfind("serving"):
            return program
    return None


async def test_it_rests_while_there_is_nothing_to_decide(
    tmp_path: Path, database_url: str, nats_server: NatsServer
) -> None:
    """Hundreds of texts that wait for every reason there is cost nothing."""
    import psutil

    async with World(database_url, nats_server, tmp_path) as world:
        program = world.start()
        paced = await world.phone("paced", min_gap_s=240)
        full = await world.phone("full", daily_cap=1)
        away = await world.phone("away", online=False)
        now = world.clock.now()
        for phone in (paced, full, away):
            await world.say(*(world.wish(f"{phone}{n}", phone_id=phone) for n in range(100)))
        later = now + timedelta(days=1)
        await world.say(*(world.wish(f"later{n}", send_at=later) for n in range(100)))
        await world.say(*(world.wish(f"test{n}", test=True) for n in range(100)))
        for event in await world.until("send.dispatched", count=2):
            await world.says(e.SmsSent, event)
        await world.waits_for(world.wish(f"{away}99", phone_id=away), "phone_offline")
        process = psutil.Process(program._child.pid)  # type: ignore[union-attr]

        async def at_rest() -> bool:
            before = process.cpu_times()
            await asyncio.sleep(2)
            after = process.cpu_times()
            return after.user + after.system - before.user - before.system < 0.1

        await until("it rests", at_rest)
        assert len(await world.events("send.dispatched")) == 2


async def test_it_goes_on_after_nats_and_postgresql_were_away(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    from tests.conftest import new_postgres

    postgres = new_postgres(tmp_path / "postgres")
    await postgres.start()
    try:
        async with World(postgres.url(), nats_server, tmp_path) as world:
            world.start(EIGHTMS_UNPACED_SIMULATION="true", EIGHTMS_PHONE_WINDOW="1000")
            await world.phone("one", simulated=True)
            total = 0
            for server in (nats_server, postgres, nats_server, postgres):
                await world.say(*(world.wish(str(total + n)) for n in range(40)))
                total += 40
                server.kill()
                await server.start()
                await until("the test is connected", lambda: world.log.connected)
                events = await world.until("send.dispatched", count=total)
                assert len({e.data.message_id for e in events}) == len(events) == total
    finally:
        await postgres.stop()
