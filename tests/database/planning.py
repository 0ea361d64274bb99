"""What tests of the calendar share: events that are planned, made due, and what is told of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from engine.core.database import Database, Transaction
from engine.domains import calendar
from engine.domains.calendar import CalendarEvent, EventFired, Firing, FiringFailed, Plan, Schedule
from tests.unit.scripted_model import SHIPPED
from tests.world import Person, World

NOW = datetime.now(UTC)
SOON = NOW + timedelta(days=1)  # still to come when the last test begins
# Half a day from now, so that no test that makes it due finds it due by itself as well.
HOUR = (NOW + timedelta(hours=12)).astimezone(ZoneInfo("Europe/Moscow")).hour
DAILY = Schedule("recurring", NOW - timedelta(days=30), "Europe/Moscow", cron=f"0 {HOUR} * * *")
ONCE = Schedule("one_time", SOON, "Europe/Moscow")


class Told:
    """What the calendar had to tell."""

    def __init__(self, database: Database) -> None:
        self.fired: list[EventFired] = []
        self.failed: list[FiringFailed] = []
        self.something = asyncio.Event()

        async def hear_fired(_tx: Transaction, fired: EventFired) -> None:
            self.fired.append(fired)
            self.something.set()

        async def hear_failed(_tx: Transaction, failed: FiringFailed) -> None:
            self.failed.append(failed)

        database.bus.on(EventFired, hear_fired)
        database.bus.on(FiringFailed, hear_failed)


async def plan(world: World, person: Person, given: Plan) -> CalendarEvent:
    async with world.database.as_organization(person.org_id) as tx:
        return await calendar.create_event(tx, person.actor, given, known_roles=SHIPPED)


async def event_of(world: World, person: Person, event: CalendarEvent) -> CalendarEvent:
    async with world.database.as_organization(person.org_id) as tx:
        return await calendar.get_event(tx, person.actor, event_id=event.id)


async def firings(world: World, person: Person, event: CalendarEvent) -> list[Firing]:
    async with world.database.as_organization(person.org_id) as tx:
        return await calendar.list_firings(tx, person.actor, event_id=event.id, before=None, limit=200)


async def as_owner(url: str, statement: str, *values: Any) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement, *values)
    await connection.close()


async def make_due(url: str, event: CalendarEvent, *, late: timedelta = timedelta(seconds=1)) -> None:
    """Let time pass for one event: it was due a while ago, and so was its start."""
    await as_owner(
        url,
        "UPDATE calendar_events SET next_at = now() - $2::interval, next_nominal = now() - $2::interval,"
        " starts_at = least(starts_at, now() - $2::interval) WHERE id = $1",
        event.id,
        late,
    )


async def make_retries_due(url: str) -> None:
    await as_owner(url, "UPDATE calendar_firings SET retry_at = now() WHERE retry_at IS NOT NULL")
