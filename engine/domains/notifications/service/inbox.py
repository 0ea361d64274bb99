"""What people read of their notifications, and what became of every attempt to tell them."""

from datetime import datetime
from uuid import UUID

from engine.core.database import Transaction
from engine.domains import audit, users
from engine.domains.notifications import repository
from engine.domains.notifications.errors import DeadLetterNotFound
from engine.domains.notifications.models import Attempt, DeadLetter, Notification, OutboxFilled, Tiding
from engine.domains.notifications.service import composing, telling
from engine.domains.users import Actor

MOST_COUNTED = 1000


async def list_notifications(
    tx: Transaction, actor: Actor, *, unread: bool, before: tuple[datetime, UUID] | None, limit: int
) -> list[tuple[Notification, Tiding | None]]:
    """Return a page of one's own, the newest first, in words; None for what may no longer be read."""
    before_at, before_id = before or (None, None)
    page = await repository.page_of_notifications(
        tx, user_id=actor.user_id, unread=unread, before_at=before_at, before_id=before_id, count=limit
    )
    reader = await users.get_user(tx, user_id=actor.user_id)
    return [(each, await composing.tiding(tx, reader, each, preview=True)) for each in page]


async def count_unread(tx: Transaction, actor: Actor) -> int:
    """Return how many one has not read, a thousand at most."""
    return await repository.count_unread(tx, user_id=actor.user_id, most=MOST_COUNTED)


async def mark_read(
    tx: Transaction, actor: Actor, *, ids: list[UUID] | None, up_to: datetime | None = None
) -> list[UUID]:
    """Mark some of one's own as read, or with None all up to a moment; return which were not."""
    read = await repository.read_notifications(tx, user_id=actor.user_id, ids=ids, up_to=up_to)
    telling.announce_read(tx, actor.user_id, read)
    return read


async def list_attempts(
    tx: Transaction,
    actor: Actor,
    *,
    everybody: bool,
    before: tuple[datetime, UUID, int] | None,
    limit: int,
) -> list[Attempt]:
    """Return a page of the log of one's own, or for an admin of everybody's; the newest first."""
    if everybody:
        users.require_admin(actor)
    user_id = None if everybody else actor.user_id
    return await repository.attempts(tx, user_id=user_id, before=before, count=limit)


async def list_dead_letters(
    tx: Transaction, actor: Actor, *, before: tuple[datetime, UUID] | None, limit: int
) -> list[DeadLetter]:
    """Return a page of what was given up, for an admin; the newest first."""
    users.require_admin(actor)
    return await repository.dead_letters(tx, before=before, count=limit)


async def replay(tx: Transaction, actor: Actor, *, delivery_id: UUID) -> None:
    """Let an admin have a dead letter tried again; a channel that was broken by it is mended."""
    users.require_admin(actor)
    channel_id = await repository.replay(tx, delivery_id=delivery_id)
    if channel_id is None:
        raise DeadLetterNotFound(delivery_id)
    await repository.mend_channel(tx, channel_id=channel_id)
    await audit.record(tx, actor_id=actor.user_id, action="delivery.replayed", subject_id=delivery_id)
    tx.after_commit(OutboxFilled())
