"""The scheduler: one in every engine process, all of them safe together."""

import asyncio
import random
from contextlib import suppress
from uuid import UUID

from engine.core.database import Database, DatabaseAway
from engine.core.logging import log
from engine.core.relay import Relay
from engine.domains import chats
from engine.domains.calendar import firing, repository
from engine.domains.calendar.models import CalendarChanged

LONGEST_SLEEP_SECONDS = 30.0
AFTER_TROUBLE_SECONDS = 2.0
IN_OTHER_HANDS_SECONDS = 0.1
MOST_AT_A_LOOK = 512
BATCH = 32  # events of one organization in one transaction


def let_travel(relay: Relay) -> None:
    """Let the schedulers of other processes hear that something may be due sooner."""
    relay.carry(CalendarChanged, "calendar", lambda _: [None], lambda _: CalendarChanged())


class Scheduler:
    """Fires events when they are due; `run` goes on until cancelled.

    It asks the database what is due and what time it is, so that clocks of several machines do not matter.
    Between looks it sleeps until the next event, and never longer than 30 seconds.
    """

    def __init__(self, database: Database, known_roles: chats.RoleNames) -> None:
        self._database = database
        self._known_roles = known_roles
        self._wake = asyncio.Event()
        database.feed.on(CalendarChanged, lambda _: self._wake.set())

    async def run(self) -> None:
        """Fire what is due, until cancelled; trouble is logged and tried again."""
        while True:
            self._wake.clear()
            try:
                if not await self.look():
                    await self._rest()
            except DatabaseAway:
                log.warning("scheduler_waits_for_the_database")
                await asyncio.sleep(AFTER_TROUBLE_SECONDS)
            except Exception:  # noqa: BLE001 - the scheduler never stops
                log.exception("scheduler_failed")
                await asyncio.sleep(AFTER_TROUBLE_SECONDS)

    async def look(self) -> int:
        """Fire everything that is due now; return how many firings were made or tried again."""
        async with self._database.across_organizations(reason="find due events") as tx:
            events, retries = await repository.due(tx, count=MOST_AT_A_LOOK)
        done = 0
        # Each process begins with another organization, so that they seldom wait for one another.
        by_organization = list(repository.ids(events).items())
        random.shuffle(by_organization)
        for org_id, event_ids in by_organization:
            for start in range(0, len(event_ids), BATCH):
                done += await self._fire(org_id, event_ids[start : start + BATCH])
        for org_id, firing_ids in repository.ids(retries).items():
            for firing_id in firing_ids:
                async with self._database.as_organization(org_id) as tx:
                    done += await firing.try_again(tx, firing_id, known_roles=self._known_roles)
        return done

    async def _fire(self, org_id: UUID, event_ids: list[UUID]) -> int:
        """Fire a batch; when something in it is broken, one by one, and what is broken is paused."""
        try:
            async with self._database.as_organization(org_id) as tx:
                return await firing.fire_due(tx, event_ids, known_roles=self._known_roles)
        except DatabaseAway:
            raise
        except Exception:  # noqa: BLE001 - one broken event holds up no others
            if len(event_ids) > 1:
                return sum([await self._fire(org_id, [event_id]) for event_id in event_ids])
            log.exception("event_broke", org_id=str(org_id), event_id=str(event_ids[0]))
            async with self._database.as_organization(org_id) as tx:
                await firing.pause_broken(tx, event_ids[0])
            return 0

    async def _rest(self) -> None:
        async with self._database.across_organizations(reason="find the next event") as tx:
            seconds = await repository.seconds_to_next(tx)
        # What is due already is in somebody else's hands.
        longest = LONGEST_SLEEP_SECONDS if seconds is None else max(seconds, IN_OTHER_HANDS_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(longest, LONGEST_SLEEP_SECONDS)):
                await self._wake.wait()
