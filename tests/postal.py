"""A courier that keeps what it is given, and a post office around it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from engine.core.database import Database
from engine.core.secret import Seal
from engine.domains import notifications, users
from engine.domains.notifications import ChannelKind, Note, Office, OutboxFilled
from engine.domains.users import Actor
from engine.postman import Postman
from tests.world import SECRET, Person

SEAL = Seal(SECRET)
Failure = Exception | Callable[[], Awaitable[None]]


@dataclass
class KeepingCourier:
    """Keeps the notes of one kind of channel; fails as told before."""

    kind: ChannelKind = "email"
    parts: int = 1
    kept: list[tuple[Note, int]] = field(default_factory=list)
    failures: deque[Failure] = field(default_factory=deque)

    def write(self, note: Note) -> list[tuple[Note, int]]:
        return [(note, place) for place in range(1, self.parts + 1)]

    async def send(self, part: tuple[Note, int]) -> str:
        if self.failures:
            failure = self.failures.popleft()
            if isinstance(failure, Exception):
                raise failure
            await failure()
        self.kept.append(part)
        return f"{part[0].delivery_id}/{part[1]}"

    async def close(self) -> None:
        pass

    @property
    def notes(self) -> list[Note]:
        return [note for note, _ in self.kept]

    def headlines(self) -> list[str]:
        return [tiding.headline for note in self.notes for tiding in note.tidings]


def office(*kinds: ChannelKind) -> Office:
    return Office(SEAL, frozenset({"in_app", "webhook", *kinds}), "https://rugpt.example", push_key="BNone")


@asynccontextmanager
async def working(database: Database, *couriers: KeepingCourier) -> AsyncIterator[None]:
    """Let a postman work while the block runs."""
    postman = Postman(database, office(*(courier.kind for courier in couriers)), couriers)
    task = asyncio.create_task(postman.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def hurry(database: Database, person: Person, *, patience_seconds: int = 0) -> None:
    """Let a person's channels have no patience, so that the next ones are told at once."""
    async with database.as_organization(person.org_id) as tx:
        for channel in await notifications.list_channels(tx, person.actor):
            changes = notifications.ChannelChanges(patience_seconds=patience_seconds)
            await notifications.change_channel(tx, person.actor, channel_id=channel.id, changes=changes)


async def hasten(database: Database, owner_url: str) -> None:
    """Let time pass until every pause is over."""
    owner = await asyncpg.connect(owner_url)
    await owner.execute("UPDATE notification_channels SET free_at = now()")
    await owner.execute("UPDATE deliveries SET due_at = now() WHERE status = 'queued'")
    await owner.execute("UPDATE deliveries SET lease_until = now() WHERE status = 'sending'")
    await owner.close()
    database.feed.send(OutboxFilled())


async def own_channel(database: Database, actor: Actor, kind: ChannelKind) -> UUID:
    """Return the id of a channel of a person; the mail of their account comes back if it was removed."""
    async with database.as_organization(actor.org_id) as tx:
        for channel in await notifications.list_channels(tx, actor):
            if channel.kind == kind:
                return channel.id
        person = await users.get_user(tx, user_id=actor.user_id)
        added = await notifications.add_channel(
            tx, actor, office=office("email"), kind="email", address=person.email
        )
        return added.channel.id


async def dead_letter(database: Database, actor: Actor) -> tuple[UUID, UUID]:
    """Let a letter to a person be refused for good; return the ids of their channel and of the letter."""
    channel_id = await own_channel(database, actor, "email")
    async with database.as_organization(actor.org_id) as tx:
        await notifications.send_test(tx, actor, office=office("email"), channel_id=channel_id)
    async with database.across_organizations(reason="a test's sender") as across:
        claims = await notifications.claim(across, kind="email", count=100, lease_seconds=60)
    claim = next(claim for claim in claims if claim.channel_id == channel_id)
    async with database.as_organization(actor.org_id) as tx:
        await notifications.record_failure(tx, claim, notifications.DeliveryRefused("550 no such user"))
    return channel_id, claim.id


async def eventually(holds: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


async def becomes_true(owner_url: str, query: str, *, seconds: float = 10) -> None:
    """Wait until a query of the database's owner says so."""
    owner = await asyncpg.connect(owner_url)
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await owner.fetchval(query):
                    return
                await asyncio.sleep(0.02)
    finally:
        await owner.close()
