"""One engine's part in telling people: its planner, and a sender for each kind of channel."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from engine.core.database import Database
from engine.core.errors import Refusal
from engine.core.logging import log
from engine.domains import notifications
from engine.domains.notifications import Courier, Office, Stirred
from engine.postman.loops import keep_alive, sleep_until
from engine.postman.sender import Sender

LOOK_SECONDS = 0.1


class Postman:
    """Plans and sends until cancelled; safe beside those of other processes on the same database."""

    def __init__(self, database: Database, office: Office, couriers: Iterable[Courier[Any]]) -> None:
        self._database = database
        self._office = office
        self._couriers = list(couriers)
        self._senders = [Sender(database, office, courier) for courier in self._couriers]
        self._wake = asyncio.Event()
        database.feed.on(Stirred, lambda _: self._wake.set())

    async def run(self) -> None:
        """Work until cancelled; then what is on its way is waited for, a few seconds."""
        loops = [asyncio.create_task(keep_alive("plan", self._plan))]
        for sender, courier in zip(self._senders, self._couriers, strict=True):
            loops.append(asyncio.create_task(keep_alive(f"send {courier.kind}", sender.run)))
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await asyncio.gather(*(sender.finish() for sender in self._senders))
            await asyncio.gather(*(courier.close() for courier in self._couriers))

    async def _plan(self) -> None:
        while True:
            async with self._database.across_organizations(reason="notifications") as across:
                due = await notifications.organizations_due(across)
            planned = sum([await self._plan_organization(org_id) for org_id in due])
            if planned == 0:
                async with self._database.across_organizations(reason="notifications") as across:
                    seconds = await notifications.seconds_to_next(across, plans=True, kinds=())
                await sleep_until(self._wake, seconds)
            # What happens within a moment is planned together, and after those who wait for an answer.
            await asyncio.sleep(LOOK_SECONDS)

    async def _plan_organization(self, org_id: UUID) -> int:
        try:
            async with self._database.as_organization(org_id) as tx:
                return await notifications.plan_due(tx, kinds=self._office.kinds)
        except Refusal:
            raise
        except Exception:  # noqa: BLE001 - one organization's trouble must not keep the others waiting
            log.exception("notifications_not_planned", org_id=str(org_id))
            async with self._database.as_organization(org_id) as tx:
                await notifications.postpone_due(tx)
            return 0
