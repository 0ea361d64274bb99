"""Events: planned by people, seen by those whom they concern, and refused where they make no sense."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from engine.core.database import Database
from engine.domains import calendar, chats
from engine.domains.calendar import Plan, Schedule
from engine.domains.calendar.errors import EventInvalid, EventNeverComes, NotYourEvent, TooManyOccurrences
from tests.database.planning import DAILY, NOW, ONCE, SOON, event_of, plan
from tests.world import World


async def test_an_event_is_seen_by_its_owner_by_whom_it_tells_and_by_its_chat(world: World) -> None:
    firm = await world.organization()
    ann, bob, eve, kim = firm.admin, *[await world.user(firm) for _ in range(3)]
    chat_id = await world.chat(ann, bob, eve)
    in_chat = await plan(world, ann, Plan("Сверка", DAILY, chat_id=chat_id, notify=(bob.id,)))
    private = await plan(world, ann, Plan("Отпуск", ONCE))
    guests = await plan(world, bob, Plan("Обед", ONCE, notify=(kim.id,)))
    seen = {}
    for person in (ann, bob, eve, kim):
        async with world.database.as_organization(firm.id) as tx:
            seen[person.username] = {event.id for event in await calendar.list_events(tx, person.actor)}

    assert seen == {
        ann.username: {in_chat.id, private.id},
        bob.username: {in_chat.id, guests.id},
        eve.username: {in_chat.id},
        kim.username: {guests.id},
    }
    with pytest.raises(calendar.EventNotFound):
        await event_of(world, kim, private)


async def test_only_who_planned_it_or_an_admin_who_sees_it_changes_an_event(world: World) -> None:
    firm = await world.organization()
    bob, eve = await world.user(firm), await world.user(firm)
    chat_id = await world.chat(firm.admin, bob, eve)
    event = await plan(world, bob, Plan("Сверка", DAILY, chat_id=chat_id))

    async with world.database.as_organization(firm.id) as tx:
        with pytest.raises(NotYourEvent):
            await calendar.pause_event(tx, eve.actor, event_id=event.id)
        paused = await calendar.pause_event(tx, firm.admin.actor, event_id=event.id)
        resumed = await calendar.resume_event(tx, bob.actor, event_id=event.id)
        await calendar.delete_event(tx, bob.actor, event_id=event.id)
        with pytest.raises(calendar.EventNotFound):
            await calendar.get_event(tx, bob.actor, event_id=event.id)

    assert (paused.status, resumed.status) == ("paused", "active")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": " "}, "title"),
        ({"role_code": "lawyer"}, "chat_id"),
        ({"instruction": "Сделай"}, "role"),
        ({"schedule": Schedule("one_time", SOON, "Mars/Base")}, None),
        ({"schedule": Schedule("one_time", NOW - timedelta(hours=1), "UTC")}, None),
        ({"schedule": replace(ONCE, cron="0 0 * * *")}, "cron"),
        ({"schedule": replace(DAILY, cron=None)}, "cron"),
        ({"schedule": replace(DAILY, cron="61 0 * * *")}, "cron"),
        ({"schedule": replace(DAILY, cron="* * * * * *")}, "cron"),
        ({"schedule": replace(DAILY, cron="@reboot")}, "cron"),
        ({"schedule": replace(DAILY, cron="0 0 30 2 *")}, None),
        ({"schedule": replace(DAILY, cron=None, rrule="FREQ=SECONDLY")}, "rrule"),
        ({"schedule": replace(DAILY, cron=None, rrule="FREQ=WEEKLY;BYDAY=XX")}, "rrule"),
        ({"schedule": replace(DAILY, cron=None, rrule="nonsense")}, "rrule"),
        ({"schedule": Schedule("interval", SOON, "UTC", every_seconds=59)}, "every_seconds"),
        ({"schedule": replace(DAILY, ends_at=DAILY.starts_at)}, "ends_at"),
        ({"schedule": replace(DAILY, count=0)}, "count"),
        ({"schedule": replace(DAILY, country="ZZ")}, None),
        ({"schedule": replace(DAILY, cron="*/5 * * * *", working_days="next")}, "working_days"),
        ({"schedule": replace(DAILY, starts_at=NOW - timedelta(days=4000))}, "starts_at"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_says_where(
    world: World, change: dict[str, Any], field: str | None
) -> None:
    firm = await world.organization()

    with pytest.raises((EventInvalid, EventNeverComes, calendar.ScheduleInvalid, Exception)) as refused:
        await plan(world, firm.admin, replace(Plan("Сверка", DAILY), **change))

    assert refused.value.details.get("field") == field  # type: ignore[attr-defined]


async def test_only_people_of_its_chat_are_told_of_an_event_and_only_its_people_plan_in_it(
    world: World,
) -> None:
    firm = await world.organization()
    bob, eve = await world.user(firm), await world.user(firm)
    chat_id = await world.chat(firm.admin, bob)

    with pytest.raises(EventInvalid):
        await plan(world, bob, Plan("Сверка", DAILY, chat_id=chat_id, notify=(eve.id,)))
    with pytest.raises(chats.ChatNotFound):
        await plan(world, eve, Plan("Сверка", DAILY, chat_id=chat_id))


async def test_count_and_until_of_a_rule_are_the_schedules_own(world: World) -> None:
    firm = await world.organization()
    rule = replace(DAILY, cron=None, rrule="RRULE:FREQ=DAILY;COUNT=40")
    until = replace(DAILY, cron=None, rrule="FREQ=DAILY;UNTIL=20991231")

    counted = (await plan(world, firm.admin, Plan("Счёт", rule))).plan.schedule
    ended = (await plan(world, firm.admin, Plan("Срок", until))).plan.schedule

    assert (counted.rrule, counted.count) == ("FREQ=DAILY", 40)
    assert ended.rrule == "FREQ=DAILY"
    assert ended.ends_at == datetime.fromisoformat("2100-01-01T00:00+03:00")


async def test_a_preview_is_bounded(world: World) -> None:
    firm = await world.organization()
    minutes = Plan("Часто", replace(DAILY, cron="* * * * *"))
    async with world.database.as_organization(firm.id) as tx:
        five = await calendar.preview(tx, minutes, since=NOW, until=NOW + timedelta(days=30), limit=5)
        with pytest.raises(TooManyOccurrences):
            await calendar.preview(tx, minutes, since=NOW, until=NOW + timedelta(days=30))

    assert len(five) == 5


async def test_a_feed_is_read_by_its_secret_alone_until_it_is_closed(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    async with database.as_organization(firm.id) as tx:
        first = await calendar.open_feed(tx, firm.admin.actor)
        second = await calendar.open_feed(tx, firm.admin.actor)

    reader = await calendar.feed_reader(database, second)
    with pytest.raises(calendar.FeedNotFound):
        await calendar.feed_reader(database, first)
    async with database.as_organization(firm.id) as tx:
        await calendar.close_feed(tx, firm.admin.actor)
    with pytest.raises(calendar.FeedNotFound):
        await calendar.feed_reader(database, second)

    assert reader == firm.admin.actor
