"""Takes notifications to the channels whose turn it is."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from engine.core.database import Transaction
from engine.domains import users
from engine.domains.notifications import repository
from engine.domains.notifications.models import Channel, ChannelKind, Notification, OutboxFilled
from engine.domains.notifications.orchestration import BURST, BURST_SECONDS, gathers_until, next_step
from engine.domains.notifications.service.channels import channels_of

BATCH = 200


async def organizations_due(across: Transaction) -> list[UUID]:
    """Return the organizations in which somebody has to be told something now."""
    return await repository.organizations_due(across)


async def plan_due(tx: Transaction, *, kinds: frozenset[ChannelKind], now: datetime | None = None) -> int:
    """Let what is due go to its next channels; return how many notifications that were, a batch at most.

    `kinds` are the kinds of channel that this installation has couriers for.
    """
    now = now or datetime.now(UTC)
    due = await repository.take_due(tx, count=BATCH)
    if not due:
        return 0
    people = [user for user in await users.by_ids(tx, {each.user_id for each in due}) if user.is_active]
    channels = await channels_of(tx, people) if people else {}
    steps: list[tuple[UUID, int | None, datetime | None]] = []
    for notification in due:
        theirs = [channel for channel in channels.get(notification.user_id, ()) if channel.kind in kinds]
        step = next_step(theirs, kind=notification.kind, told=notification.told, now=now)
        for channel in step.channels:
            if channel.kind != "in_app":  # There it has been since the commit.
                await _hand_over(tx, channel, notification, now)
                tx.after_commit(OutboxFilled())
        steps.append((notification.id, step.told, step.next_at))
    await repository.step_on(tx, steps)
    return len(due)


async def postpone_due(tx: Transaction) -> None:
    """Leave what cannot be planned alone for a minute."""
    await repository.postpone_due(tx)


async def _hand_over(tx: Transaction, channel: Channel, notification: Notification, now: datetime) -> None:
    """Give a channel something to tell: alone, or with the digest that gathers for it."""
    if channel.kind == "webhook":  # Programs want every one, at once.
        await repository.insert_delivery(tx, channel, purpose="note", notification_ids=[notification.id])
        return
    digest_id = await repository.open_digest(tx, channel_id=channel.id)
    if digest_id is not None:
        await repository.add_items(
            tx, delivery_id=digest_id, channel_id=channel.id, notification_ids=[notification.id]
        )
        return
    since = now - timedelta(seconds=BURST_SECONDS)
    recent = await repository.recent_of_channel(tx, channel_id=channel.id, since=since, count=BURST)
    gathered_until = gathers_until(recent, now)
    await repository.insert_delivery(
        tx,
        channel,
        purpose="note" if gathered_until is None else "digest",
        notification_ids=[notification.id],
        due_at=gathered_until,
    )
