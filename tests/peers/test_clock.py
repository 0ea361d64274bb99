"""Clocks that jump, of schedulers and of PostgreSQL alike: nothing fires twice, and nothing is left out."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from engine.core.database import MIGRATIONS, Database
from engine.core.embedded import EmbeddedPostgres
from engine.core.events import Bus
from engine.core.feed import Feed
from engine.core.migrations import migrate, read_migrations
from engine.domains.calendar import Schedule
from tests.clocks import NEXT_YEAR, change_of_clocks
from tests.postal import becomes_true
from tests.world import Person, World, introduce

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
SHIM = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("/nowhere"))
HEARD_SECONDS = 2.5  # Each process looks for itself, every second or two, how far it is from the real clock.
JUST_NOW = timedelta(seconds=20)
NOON = datetime(NEXT_YEAR, 2, 1, 12, tzinfo=UTC)  # Nothing is planned for the past.


@dataclass
class Clockwork:
    """Two schedulers with their database, and the clock that all of them look at."""

    owner: asyncpg.Connection
    owner_url: str
    offset: Path
    world: World
    ann: Person

    async def set_to(self, moment: datetime) -> None:
        """Let the clock jump; it goes on from there."""
        self.offset.write_text(f"{(moment - datetime.now(UTC)).total_seconds():+.3f}\n")
        seconds = JUST_NOW.total_seconds()
        query = f"SELECT abs(extract(epoch FROM clock_timestamp() - '{moment}')) < {seconds}"
        await becomes_true(self.owner_url, query)
        await asyncio.sleep(HEARD_SECONDS)

    async def plan(self, schedule: Schedule) -> UUID:
        event = await self.world.event(
            self.ann, schedule=schedule, misfire="run_all", grace_seconds=7200, notify=(self.ann.id,)
        )
        return event.id

    async def fired(self, event_id: UUID, *, at_least: int = 0) -> list[datetime]:
        """Return which occurrences have fired, when so many have and every scheduler has looked once more."""
        fired = f"FROM calendar_firings WHERE event_id = '{event_id}' AND status = 'done'"
        # They look at least every 30 s.
        await becomes_true(self.owner_url, f"SELECT count(*) >= {at_least} {fired}", seconds=50)
        await asyncio.sleep(HEARD_SECONDS)
        return [row["occurrence"] for row in await self.owner.fetch(f"SELECT occurrence {fired} ORDER BY 1")]

    async def told(self) -> int:
        """Return how often people were told."""
        number: int = await self.owner.fetchval("SELECT count(*) FROM notifications")
        return number


def a_clock(folder: Path) -> Path:
    """Make the file that says how far the clock is from the real one; the database's user reads it too."""
    folder.chmod(0o755)
    offset = folder / "offset"
    offset.write_text("+0\n")
    offset.chmod(0o644)
    return offset


@pytest.fixture
async def clockwork(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clockwork]:
    with tempfile.TemporaryDirectory(prefix="rugpt-clock-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        offset = a_clock(folder)
        server = EmbeddedPostgres(folder / "postgres", options={"fsync": "off"})
        shim = {"LD_PRELOAD": str(SHIM), "FAKETIME_TIMESTAMP_FILE": str(offset)}
        shim |= {"FAKETIME_CACHE_DURATION": "1", "DONT_FAKE_MONOTONIC": "1"}
        with monkeypatch.context() as shimmed:
            for key, value in shim.items():
                shimmed.setenv(key, value)
            await asyncio.to_thread(server.start)
        owner = await asyncpg.connect(server.url(user="postgres"))
        await migrate(owner, read_migrations(MIGRATIONS))
        bus = Bus()
        introduce(bus)
        url = server.url(user="rugpt_app")
        database = await Database.open(url, bus=bus, feed=Feed())
        world = World(database)
        firm = await world.organization()
        schedulers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.peers.clocked", url), env={**os.environ, **shim}
            )
            for _ in range(2)
        ]
        try:
            yield Clockwork(owner, server.url(user="postgres"), offset, world, firm.admin)
            assert [scheduler.returncode for scheduler in schedulers] == [None, None]
        finally:
            for scheduler in schedulers:
                scheduler.kill()
                await scheduler.wait()
            await database.close()
            await owner.close()
            await asyncio.to_thread(server.stop)


def every_hour(first: datetime) -> Schedule:
    return Schedule("interval", first, "Europe/Berlin", every_seconds=3600)


async def test_a_clock_that_jumps_to_and_fro_fires_each_hour_once(clockwork: Clockwork) -> None:
    hours = [NOON + timedelta(hours=number) for number in range(1, 5)]
    await clockwork.set_to(NOON)
    event_id = await clockwork.plan(every_hour(hours[0]))

    await clockwork.set_to(hours[0] + timedelta(minutes=1))  # forward, over one
    assert await clockwork.fired(event_id, at_least=1) == hours[:1]
    await clockwork.set_to(NOON)  # back, before it
    assert await clockwork.fired(event_id) == hours[:1]
    await clockwork.set_to(hours[0] + timedelta(minutes=2))  # and over it once more
    assert await clockwork.fired(event_id) == hours[:1]
    await clockwork.set_to(hours[3] + timedelta(minutes=1))  # far ahead: three are late
    assert await clockwork.fired(event_id, at_least=4) == hours
    await clockwork.set_to(hours[2])
    assert await clockwork.fired(event_id) == hours
    assert await clockwork.told() == len(hours)


async def test_a_clock_that_is_put_back_does_not_put_off_what_comes_next(clockwork: Clockwork) -> None:
    await clockwork.set_to(NOON)
    event_id = await clockwork.plan(every_hour(NOON + timedelta(hours=1)))

    await clockwork.set_to(NOON - timedelta(days=2))
    await clockwork.set_to(NOON + timedelta(minutes=59, seconds=57))  # It comes by itself, in time.

    assert await clockwork.fired(event_id, at_least=1) == [NOON + timedelta(hours=1)]
    late = await clockwork.owner.fetchval("SELECT max(fired_at - due_at) FROM calendar_firings")
    assert late < timedelta(seconds=32)


# Berlin has no 02:30 on that day: it comes right after, at 03:00 of the new time.
GAP = change_of_clocks(NEXT_YEAR, 3)
# It has two of them on that one, of which the first counts.
TWICE = change_of_clocks(NEXT_YEAR, 10) - timedelta(minutes=30)


@pytest.mark.parametrize(
    ("occurrence", "moments"), [(GAP, [GAP]), (TWICE, [TWICE, TWICE + timedelta(hours=1)])]
)
async def test_over_a_change_of_time_a_fixed_hour_fires_once(
    clockwork: Clockwork, occurrence: datetime, moments: list[datetime]
) -> None:
    before = occurrence - timedelta(hours=3)
    await clockwork.set_to(before)
    event_id = await clockwork.plan(Schedule("recurring", before, "Europe/Berlin", cron="30 2 * * *"))

    seen = []
    for moment in moments:
        await clockwork.set_to(moment - timedelta(seconds=2))
        seen.append(await clockwork.fired(event_id, at_least=1))

    assert seen == [[occurrence]] * len(moments)
