"""The tables of channels, notifications, deliveries and what Telegram told."""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.notifications.errors import ChannelExists, TelegramChatTaken
from engine.domains.notifications.models import (
    Attempt,
    AttemptOutcome,
    Bound,
    Channel,
    ChannelChanges,
    ChannelKind,
    Claim,
    DeadLetter,
    DeliveryStatus,
    Happening,
    Notification,
    Purpose,
)

SQL = load(__file__)

# Channels.


async def ensure_channels(
    tx: Transaction, *, timezones: dict[UUID, str], patience_seconds: int, carries: list[str]
) -> None:
    """Give people the channels that everybody has."""
    await tx.run(
        SQL.ensure_channels,
        user_ids=list(timezones),
        timezones=list(timezones.values()),
        patience_seconds=patience_seconds,
        carries=carries,
    )


async def channels_of(tx: Transaction, *, user_ids: list[UUID]) -> list[Channel]:
    """Return the channels of some people."""
    return [Channel(**row) for row in await tx.all(SQL.channels_of, user_ids=user_ids)]


async def lock_channel(tx: Transaction, *, channel_id: UUID, user_id: UUID) -> Channel | None:
    """Return a channel of a person, locked until the commit."""
    row = await tx.maybe(SQL.lock_channel, channel_id=channel_id, user_id=user_id)
    return Channel(**row) if row else None


async def channel_with_key(tx: Transaction, *, channel_id: UUID) -> tuple[Channel, bytes | None] | None:
    """Return a channel and its sealed key, whosesoever it is."""
    row = await tx.maybe(SQL.channel_with_key, channel_id=channel_id)
    if row is None:
        return None
    values = dict(row)
    sealed_key: bytes | None = values.pop("sealed_key")
    return Channel(**values), sealed_key


async def browser_at(tx: Transaction, *, user_id: UUID, address: str) -> UUID | None:
    """Return a person's channel to a browser, also one that has ended, or None."""
    row = await tx.maybe(SQL.browser_at, user_id=user_id, address=address)
    return row["id"] if row else None


async def renew_browser(tx: Transaction, *, channel_id: UUID, session_id: UUID, sealed_key: bytes) -> Channel:
    """Let a browser's channel live as long as another session."""
    row = await tx.one(SQL.renew_browser, channel_id=channel_id, session_id=session_id, sealed_key=sealed_key)
    return Channel(**row)


async def insert_channel(
    tx: Transaction,
    *,
    channel_id: UUID,
    user_id: UUID,
    kind: ChannelKind,
    address: str | None,
    sealed_key: bytes | None,
    priority: int,
    patience_seconds: int,
    timezone: str,
    carries: list[str],
    is_verified: bool,
    session_id: UUID | None = None,
) -> Channel:
    """Add a channel, or raise ChannelExists."""
    try:
        row = await tx.one(
            SQL.insert_channel,
            channel_id=channel_id,
            user_id=user_id,
            kind=kind,
            address=address,
            sealed_key=sealed_key,
            priority=priority,
            patience_seconds=patience_seconds,
            timezone=timezone,
            carries=carries,
            is_verified=is_verified,
            session_id=session_id,
        )
    except asyncpg.UniqueViolationError as error:
        raise ChannelExists from error
    return Channel(**row)


async def revive_own(tx: Transaction, *, user_id: UUID) -> Channel | None:
    """Bring a removed e-mail channel of the account back."""
    row = await tx.maybe(SQL.revive_own, user_id=user_id)
    return Channel(**row) if row else None


async def update_channel(tx: Transaction, *, channel_id: UUID, changes: ChannelChanges) -> Channel:
    """Change a channel."""
    return Channel(**await tx.one(SQL.update_channel, channel_id=channel_id, **asdict(changes)))


async def remove_channel(tx: Transaction, *, channel_id: UUID) -> None:
    """Forget a channel's address and secrets, and what waits for it."""
    await tx.run(SQL.remove_channel, channel_id=channel_id)
    await tx.run(SQL.drop_queued, channel_id=channel_id, failure="channel_removed")


async def set_code(tx: Transaction, *, channel_id: UUID, code_hash: bytes, seconds: int) -> Channel:
    """Keep what a code is recognized by."""
    return Channel(**await tx.one(SQL.set_code, channel_id=channel_id, code_hash=code_hash, seconds=seconds))


async def try_code(tx: Transaction, *, channel_id: UUID, code_hash: bytes, most_tries: int) -> Channel | None:
    """Count a try; return the channel, verified or not, or None when no code would do."""
    row = await tx.maybe(SQL.try_code, channel_id=channel_id, code_hash=code_hash, most_tries=most_tries)
    return Channel(**row) if row else None


async def organization_of_code(across: Transaction, *, code_hash: bytes) -> UUID | None:
    """Return the organization in which a code was given."""
    row = await across.maybe(SQL.organization_of_code, code_hash=code_hash)
    return row["org_id"] if row else None


async def bind_chat(tx: Transaction, *, code_hash: bytes, address: str) -> Channel | None:
    """Bind a Telegram chat by its code, or raise TelegramChatTaken."""
    try:
        row = await tx.maybe(SQL.bind_chat, code_hash=code_hash, address=address)
    except asyncpg.UniqueViolationError as error:
        raise TelegramChatTaken from error
    return Channel(**row) if row else None


async def bound_chat(across: Transaction, *, address: str) -> Bound | None:
    """Return whose a Telegram chat is."""
    row = await across.maybe(SQL.bound_chat, address=address)
    return Bound(**row) if row else None


async def break_channel(tx: Transaction, *, channel_id: UUID, reason: str) -> None:
    """Let nothing go to a channel any more; what waits for it goes to the next ones."""
    if await tx.run(SQL.break_channel, channel_id=channel_id, reason=reason):
        await tx.run(SQL.fall_on_of_channel, channel_id=channel_id)
        await tx.run(SQL.drop_queued, channel_id=channel_id, failure="channel_broken")


async def mend_channel(tx: Transaction, *, channel_id: UUID) -> bool:
    """Let things go to a channel again; False when it was not broken."""
    return await tx.run(SQL.mend_channel, channel_id=channel_id) > 0


async def hold_channel(tx: Transaction, *, channel_id: UUID, seconds: float) -> None:
    """Let nothing go to a channel for a while."""
    await tx.run(SQL.hold_channel, channel_id=channel_id, seconds=seconds)
    await tx.run(SQL.hold_queued, channel_id=channel_id)


async def mute_channel(tx: Transaction, *, channel_id: UUID) -> bool:
    """Let a channel carry nothing; False when there is none."""
    return await tx.maybe(SQL.mute_channel, channel_id=channel_id) is not None


# Notifications.


async def insert_notifications(tx: Transaction, told: list[tuple[UUID, Happening]]) -> list[asyncpg.Record]:
    """Add a notification for each person who was not told yet; return those that are new."""
    columns = {
        each.name: [getattr(happening, each.name) for _, happening in told] for each in fields(Happening)
    }
    return await tx.all(SQL.insert_notifications, user_ids=[user_id for user_id, _ in told], **columns)


async def page_of_notifications(
    tx: Transaction,
    *,
    user_id: UUID,
    unread: bool,
    before_at: datetime | None,
    before_id: UUID | None,
    count: int,
) -> list[Notification]:
    """Return a page of a person's notifications."""
    rows = await tx.all(
        SQL.page_of_notifications,
        user_id=user_id,
        unread=unread,
        before_at=before_at,
        before_id=before_id,
        count=count,
    )
    return [Notification(**row) for row in rows]


async def count_unread(tx: Transaction, *, user_id: UUID, most: int) -> int:
    """Return how many notifications a person has not read."""
    unread: int = (await tx.one(SQL.count_unread, user_id=user_id, most=most))["unread"]
    return unread


async def read_notifications(
    tx: Transaction, *, user_id: UUID, ids: list[UUID] | None, up_to: datetime | None
) -> list[UUID]:
    """Mark notifications of a person as read; return which."""
    return [row["id"] for row in await tx.all(SQL.read_notifications, user_id=user_id, ids=ids, up_to=up_to)]


async def read_with_chat(tx: Transaction, *, user_id: UUID, chat_id: UUID, up_to_no: int) -> list[UUID]:
    """Mark what a chat told of as read; return which."""
    rows = await tx.all(SQL.read_with_chat, user_id=user_id, chat_id=chat_id, up_to_no=up_to_no)
    return [row["id"] for row in rows]


async def settle_draft(tx: Transaction, *, message_id: UUID) -> list[tuple[UUID, UUID]]:
    """Mark what told of a draft as read, for everybody; return the ids and whose they are."""
    rows = await tx.all(SQL.settle_draft, message_id=message_id)
    return [(row["id"], row["user_id"]) for row in rows]


async def organizations_due(across: Transaction) -> list[UUID]:
    """Return where somebody has to be told something now."""
    return [row["org_id"] for row in await across.all(SQL.organizations_due)]


async def take_due(tx: Transaction, *, count: int) -> list[Notification]:
    """Return notifications whose next channels are due, locked until the commit."""
    return [Notification(**row) for row in await tx.all(SQL.take_due, count=count)]


async def step_on(tx: Transaction, steps: list[tuple[UUID, int | None, datetime | None]]) -> None:
    """Note how far notifications have come."""
    ids, told, next_at = (list(column) for column in zip(*steps, strict=True))
    await tx.run(SQL.step_on, ids=ids, told=told, next_at=next_at)


async def postpone_due(tx: Transaction) -> None:
    """Look at what is due again in a minute."""
    await tx.run(SQL.postpone_due)


async def fall_on(tx: Transaction, *, delivery_id: UUID) -> None:
    """Let what a delivery did not bring go to the next channels."""
    await tx.run(SQL.fall_on, delivery_id=delivery_id)


async def told_by(tx: Transaction, *, delivery_id: UUID, count: int) -> list[Notification]:
    """Return what a delivery tells of."""
    return [Notification(**row) for row in await tx.all(SQL.told_by, delivery_id=delivery_id, count=count)]


# Deliveries.


async def next_due(across: Transaction, *, plans: bool, kinds: list[str]) -> float | None:
    """Return in how many seconds there is something to do: to plan, or to send by some kinds of channel."""
    seconds: float | None = (await across.one(SQL.next_due, plans=plans, kinds=kinds))["seconds"]
    return seconds


async def insert_delivery(
    tx: Transaction,
    channel: Channel,
    *,
    purpose: Purpose,
    notification_ids: list[UUID],
    sealed: bytes | None = None,
    due_at: datetime | None = None,
    delivery_id: UUID | None = None,
) -> UUID:
    """Add something to send."""
    delivery_id = delivery_id or uuid4()
    await tx.run(
        SQL.insert_delivery,
        delivery_id=delivery_id,
        channel_id=channel.id,
        user_id=channel.user_id,
        kind=channel.kind,
        purpose=purpose,
        sealed=sealed,
        due_at=due_at,
    )
    if notification_ids:
        await add_items(tx, delivery_id=delivery_id, channel_id=channel.id, notification_ids=notification_ids)
    return delivery_id


async def add_items(
    tx: Transaction, *, delivery_id: UUID, channel_id: UUID, notification_ids: list[UUID]
) -> None:
    """Let a delivery tell of notifications."""
    await tx.run(
        SQL.insert_items, delivery_id=delivery_id, channel_id=channel_id, notification_ids=notification_ids
    )


async def open_digest(tx: Transaction, *, channel_id: UUID) -> UUID | None:
    """Return the digest that gathers for a channel, locked until the commit."""
    row = await tx.maybe(SQL.open_digest, channel_id=channel_id)
    return row["id"] if row else None


async def recent_of_channel(
    tx: Transaction, *, channel_id: UUID, since: datetime, count: int
) -> list[datetime]:
    """Return when a channel was last told something."""
    rows = await tx.all(SQL.recent_of_channel, channel_id=channel_id, since=since, count=count)
    return [row["created_at"] for row in rows]


async def claim_deliveries(
    across: Transaction, *, kind: ChannelKind, count: int, lease_seconds: float
) -> list[Claim]:
    """Take what is to be sent."""
    rows = await across.all(SQL.claim_deliveries, kind=kind, count=count, lease_seconds=lease_seconds)
    return [Claim(**row) for row in rows]


async def note_part(tx: Transaction, claim: Claim, *, parts_sent: int, lease_seconds: float) -> bool:
    """Note that one more part has arrived; False when another process has the delivery."""
    row = await tx.maybe(
        SQL.note_part,
        delivery_id=claim.id,
        fence=claim.fence,
        parts_sent=parts_sent,
        lease_seconds=lease_seconds,
    )
    return row is not None


async def count_unknown(tx: Transaction, *, delivery_id: UUID) -> None:
    """Count an attempt that nobody ended."""
    await tx.run(SQL.count_unknown, delivery_id=delivery_id)


async def put_back(tx: Transaction, claim: Claim, *, due_at: datetime) -> None:
    """Let a delivery wait for a moment; nothing was tried."""
    await tx.run(SQL.put_back, delivery_id=claim.id, fence=claim.fence, due_at=due_at)


async def end_attempt(
    tx: Transaction,
    claim: Claim,
    *,
    status: DeliveryStatus,
    is_unknown: bool = False,
    provider_id: str | None = None,
    failure: str | None = None,
    pause_seconds: float = 0,
) -> bool:
    """Say how an attempt ended; False when another process has the delivery."""
    row = await tx.maybe(
        SQL.end_attempt,
        delivery_id=claim.id,
        fence=claim.fence,
        status=status,
        is_unknown=is_unknown,
        provider_id=provider_id,
        failure=failure,
        pause_seconds=pause_seconds,
    )
    return row is not None


async def insert_attempt(
    tx: Transaction,
    *,
    delivery_id: UUID,
    fence: int,
    started_at: datetime,
    outcome: AttemptOutcome,
    detail: str | None = None,
) -> None:
    """Add a line to the log."""
    await tx.run(
        SQL.insert_attempt,
        delivery_id=delivery_id,
        fence=fence,
        started_at=started_at,
        outcome=outcome,
        detail=detail,
    )


async def find_delivery(tx: Transaction, *, delivery_id: UUID) -> asyncpg.Record | None:
    """Return a delivery."""
    return await tx.maybe(SQL.find_delivery, delivery_id=delivery_id)


async def attempts(
    tx: Transaction, *, user_id: UUID | None, before: tuple[datetime, UUID, int] | None, count: int
) -> list[Attempt]:
    """Return a page of the log."""
    before_at, before_id, before_fence = before or (None, None, None)
    rows = await tx.all(
        SQL.attempts,
        user_id=user_id,
        before_at=before_at,
        before_id=before_id,
        before_fence=before_fence,
        count=count,
    )
    return [Attempt(**row) for row in rows]


async def dead_letters(
    tx: Transaction, *, before: tuple[datetime, UUID] | None, count: int
) -> list[DeadLetter]:
    """Return a page of what was given up."""
    before_at, before_id = before or (None, None)
    rows = await tx.all(SQL.dead_letters, before_at=before_at, before_id=before_id, count=count)
    return [DeadLetter(**row) for row in rows]


async def replay(tx: Transaction, *, delivery_id: UUID) -> UUID | None:
    """Let a dead letter be tried again; return its channel, or None when it is not dead."""
    row = await tx.maybe(SQL.replay, delivery_id=delivery_id)
    return row["channel_id"] if row else None


# What Telegram told, and what only one process may do.


async def insert_question(tx: Transaction, *, channel_id: UUID, message_no: int, draft_id: UUID) -> None:
    """Keep which draft a reply to a message of the bot corrects."""
    await tx.run(SQL.insert_question, channel_id=channel_id, message_no=message_no, draft_id=draft_id)


async def find_question(tx: Transaction, *, channel_id: UUID, message_no: int) -> UUID | None:
    """Return the draft that a reply to a message of the bot corrects."""
    row = await tx.maybe(SQL.find_question, channel_id=channel_id, message_no=message_no)
    return row["draft_id"] if row else None


async def keep_updates(across: Transaction, *, bot_id: int, contents: list[dict[str, Any]]) -> int:
    """Keep what Telegram told; return how much of it is new."""
    ids = [content["update_id"] for content in contents]
    return len(await across.all(SQL.keep_updates, bot_id=bot_id, update_ids=ids, contents=contents))


async def last_update(across: Transaction, *, bot_id: int) -> int | None:
    """Return the number of the newest thing told."""
    number: int | None = (await across.one(SQL.last_update, bot_id=bot_id))["update_id"]
    return number


async def waiting_updates(
    across: Transaction, *, bot_id: int, count: int
) -> list[tuple[int, dict[str, Any], int]]:
    """Return what waits to be worked on: its number, what it says, and how often it was tried."""
    rows = await across.all(SQL.waiting_updates, bot_id=bot_id, count=count)
    return [(row["update_id"], row["content"], row["tries"]) for row in rows]


async def begin_update(across: Transaction, *, bot_id: int, update_id: int) -> None:
    """Count a try."""
    await across.run(SQL.begin_update, bot_id=bot_id, update_id=update_id)


async def finish_update(across: Transaction, *, bot_id: int, update_id: int) -> None:
    """Forget what was worked on, but for its number."""
    await across.run(SQL.finish_update, bot_id=bot_id, update_id=update_id)


async def forget_old_updates(across: Transaction, *, keep_hours: int) -> int:
    """Forget old numbers; return how many."""
    return await across.run(SQL.forget_old_updates, keep_hours=keep_hours)


async def take_lease(across: Transaction, *, name: str, holder: str, seconds: float) -> bool:
    """Take or prolong the right to do something alone."""
    return await across.maybe(SQL.take_lease, name=name, holder=holder, seconds=seconds) is not None


async def leave_lease(across: Transaction, *, name: str, holder: str) -> None:
    """Give the right up."""
    await across.run(SQL.leave_lease, name=name, holder=holder)
