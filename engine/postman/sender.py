"""Sends what waits for one kind of channel; senders of several processes share the work."""

import asyncio
from typing import Any

from engine.core.database import Database
from engine.core.errors import Refusal
from engine.core.logging import log
from engine.domains import notifications
from engine.domains.notifications import Claim, Courier, Note, Office, OutboxFilled
from engine.postman.loops import sleep_until

SEND_SECONDS = 60.0
LEASE_SECONDS = 90.0
STOP_SECONDS = 5.0
Failure = notifications.DeliveryDelayed | notifications.DeliveryRefused | notifications.DeliveryUnknown


class Sender:
    """One kind's sender; `run` works until cancelled, `finish` waits for what is on its way."""

    def __init__(
        self,
        database: Database,
        office: Office,
        courier: Courier[Any],
        *,
        at_once: int = 8,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._office = office
        self._courier = courier
        self._at_once = at_once
        self._lease_seconds = lease_seconds
        self._on_its_way: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        database.feed.on(OutboxFilled, lambda _: self._wake.set())

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            room = self._at_once - len(self._on_its_way)
            if room < self._at_once / 2:  # Taken one by one, each would cost a transaction of its own.
                await asyncio.wait(self._on_its_way, return_when=asyncio.FIRST_COMPLETED)
                continue
            claims = await self._claim(room)
            for claim in claims:
                task = asyncio.create_task(self._deliver(claim))
                self._on_its_way.add(task)
                task.add_done_callback(self._on_its_way.discard)
            if len(claims) < room:
                await sleep_until(self._wake, await self._seconds_to_next())

    async def finish(self) -> None:
        """Wait a few seconds for what is on its way; what is not back by then counts as unknown."""
        if self._on_its_way:
            _, late = await asyncio.wait(self._on_its_way, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _claim(self, count: int) -> list[Claim]:
        async with self._database.across_organizations(reason="deliveries") as across:
            return await notifications.claim(
                across, kind=self._courier.kind, count=count, lease_seconds=self._lease_seconds
            )

    async def _seconds_to_next(self) -> float | None:
        async with self._database.across_organizations(reason="deliveries") as across:
            return await notifications.seconds_to_next(across, plans=False, kinds=[self._courier.kind])

    async def _deliver(self, claim: Claim) -> None:
        """Bring one delivery to its end; no transaction is open while it is on its way."""
        try:
            async with self._database.as_organization(claim.org_id) as tx:
                note = await notifications.prepare(tx, claim, seal=self._office.seal)
            if note is not None:
                await self._send(claim, note)
        except Refusal as refusal:
            log.warning("delivery_not_made", delivery_id=str(claim.id), code=refusal.code)
            await self._fail(claim, notifications.DeliveryDelayed(refusal.message))
        except Exception as error:  # noqa: BLE001 - one that cannot be made must not stop the others
            log.exception("delivery_broke", delivery_id=str(claim.id))
            await self._fail(claim, notifications.DeliveryDelayed(f"a bug of ours: {type(error).__name__}"))

    async def _send(self, claim: Claim, note: Note) -> None:
        parts = list(self._courier.write(note))
        provider_id = ""
        for place, part in enumerate(parts[claim.parts_sent :], start=claim.parts_sent + 1):
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    provider_id = await self._courier.send(part)
            except TimeoutError:
                await self._fail(claim, notifications.DeliveryUnknown("no acknowledgement in time"))
                return
            except (
                notifications.DeliveryDelayed,
                notifications.DeliveryRefused,
                notifications.DeliveryUnknown,
            ) as failure:
                await self._fail(claim, failure)
                return
            if place < len(parts) and not await self._note_part(claim, place):
                return  # Another process has it by now.
        async with self._database.as_organization(claim.org_id) as tx:
            await notifications.record_sent(tx, claim, provider_id=provider_id)

    async def _note_part(self, claim: Claim, place: int) -> bool:
        async with self._database.as_organization(claim.org_id) as tx:
            return await notifications.note_part(
                tx, claim, parts_sent=place, lease_seconds=self._lease_seconds
            )

    async def _fail(self, claim: Claim, failure: Failure) -> None:
        try:
            async with self._database.as_organization(claim.org_id) as tx:
                await notifications.record_failure(tx, claim, failure)
        except Refusal as away:
            # Its lease runs out, and it counts as unknown.
            log.warning("delivery_not_recorded", delivery_id=str(claim.id), code=away.code)
