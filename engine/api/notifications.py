"""What people are told, and by which of their channels."""

from base64 import urlsafe_b64decode
from datetime import UTC, datetime, time
from typing import Annotated, Self
from urllib.parse import urlsplit
from uuid import UUID

import segno
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, Query
from pydantic import AfterValidator, AwareDatetime, Field

from engine.api.caller import Authenticated, Caller
from engine.api.views import Body, Page, View, Word
from engine.core.cursor import decode_cursor, encode_cursor
from engine.domains import notifications
from engine.domains.notifications import (
    Added,
    Attempt,
    Channel,
    ChannelKind,
    Kind,
    Notification,
    Office,
    Purpose,
    Tiding,
)

router = APIRouter(prefix="/notifications", tags=["notifications"])
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
Cursor = Annotated[str | None, Query(max_length=1024)]
Limit = Annotated[int, Query(ge=1, le=100)]
Priority = Annotated[int, Field(ge=0, le=100)]
Patience = Annotated[int, Field(ge=0, le=86_400)]
Carries = Annotated[list[Kind], Field(max_length=20)]


def _bytes_of(text: str) -> bytes:
    if len(text) > 200:
        raise ValueError("is too long")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _a_point(text: str) -> str:
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _bytes_of(text))
    return text


def _sixteen_bytes(text: str) -> str:
    if len(_bytes_of(text)) != 16:
        raise ValueError("must be 16 bytes in base64url")
    return text


class ChannelView(View):
    """A way to reach me; those of equal priority are told together, the highest first."""

    id: UUID
    kind: ChannelKind
    address: str | None
    priority: int
    patience_seconds: int
    quiet_from: time | None
    quiet_until: time | None
    timezone: str
    carries: list[Kind]
    verified_at: datetime | None
    broken_at: datetime | None
    broken_code: str | None


class BindingView(View):
    """How to bind a Telegram chat: open the link, or send `/start CODE` to the bot, within 15 minutes."""

    code: str
    link: str | None
    qr_svg: str | None
    expires_at: datetime


class AddedChannelView(View):
    """`key` signs what a webhook gets, and is shown only here; `binding` is for Telegram."""

    channel: ChannelView
    key: str | None = None
    binding: BindingView | None = None

    @classmethod
    def of(cls, added: Added, office: Office) -> Self:
        return cls(channel=_channel(added.channel), key=added.key, binding=_binding(added, office))


class AddChannel(Body):
    kind: ChannelKind
    address: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    priority: Priority | None = None
    patience_seconds: Patience | None = None
    timezone: Word | None = None
    carries: Carries | None = None


class ChangeChannel(Body):
    """What is left out stays; two equal quiet times mean that the channel is never quiet."""

    priority: Priority | None = None
    patience_seconds: Patience | None = None
    quiet_from: time | None = None
    quiet_until: time | None = None
    timezone: Word | None = None
    carries: Carries | None = None


class PushKeyView(View):
    public_key: str


class BrowserKeys(Body):
    p256dh: Annotated[str, AfterValidator(_a_point)]
    auth: Annotated[str, AfterValidator(_sixteen_bytes)]


class SubscribeBrowser(Body):
    """What `PushManager.subscribe` gives."""

    endpoint: Annotated[str, Field(min_length=1, max_length=2000)]
    keys: BrowserKeys
    expiration_time: Annotated[float | None, Field(alias="expirationTime")] = None


class VerifyChannel(Body):
    """Without a code a new one is sent, or shown for Telegram; a broken channel is mended."""

    code: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class NotificationView(View):
    """Something that I am told; without a headline when I may no longer read what it tells of."""

    id: UUID
    kind: Kind
    headline: str | None
    text: str | None
    chat_id: UUID | None
    message_id: UUID | None
    subject_id: UUID | None
    may_sign: bool
    created_at: datetime
    read_at: datetime | None

    @classmethod
    def of(cls, notification: Notification, words: Tiding | None) -> Self:
        return cls(
            id=notification.id,
            kind=notification.kind,
            headline=words.headline if words else None,
            text=words.body if words else None,
            chat_id=notification.chat_id if words else None,
            message_id=notification.message_id if words else None,
            subject_id=notification.subject_id,
            may_sign=bool(words and words.may_sign),
            created_at=notification.created_at,
            read_at=notification.read_at,
        )


class InboxView(Page[NotificationView]):
    """A page of my notifications; `unread` counts all of them, up to 1000."""

    unread: int


class MarkRead(Body):
    """`ids` are read, or without them everything up to `up_to`, or to now."""

    ids: Annotated[list[UUID], Field(max_length=1000)] | None = None
    up_to: Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)] | None = None


class ReadView(View):
    unread: int


class AttemptView(View):
    """One try to deliver; `unknown` means that nobody acknowledged it and it may have arrived."""

    delivery_id: UUID
    attempt: int
    user_id: UUID
    channel_id: UUID
    channel_kind: ChannelKind
    purpose: Purpose
    started_at: datetime
    ended_at: datetime
    outcome: notifications.AttemptOutcome
    detail: str | None

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        return cls(
            delivery_id=attempt.delivery_id,
            attempt=attempt.fence,
            user_id=attempt.user_id,
            channel_id=attempt.channel_id,
            channel_kind=attempt.channel_kind,
            purpose=attempt.purpose,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            outcome=attempt.outcome,
            detail=attempt.detail,
        )


class DeadLetterView(View):
    """A delivery that was given up."""

    id: UUID
    user_id: UUID
    channel_id: UUID
    channel_kind: ChannelKind
    purpose: Purpose
    attempts: int
    unknowns: int
    failure: str | None
    created_at: datetime
    finished_at: datetime


@router.get("/channels")
async def list_channels(caller: Authenticated) -> Page[ChannelView]:
    """List my channels, the first to be told first."""
    async with caller.transaction() as tx:
        mine = await notifications.list_channels(tx, caller.actor)
    return Page(items=[_channel(channel) for channel in mine], next_cursor=None)


@router.post("/channels", status_code=201)
async def add_channel(new: AddChannel, caller: Authenticated) -> AddedChannelView:
    """Add a channel: e-mail waits for its code, Telegram for `/start`; a webhook's key is told only here."""
    async with caller.transaction() as tx:
        added = await notifications.add_channel(tx, caller.actor, office=_office(caller), **new.model_dump())
    return AddedChannelView.of(added, _office(caller))


@router.get("/push")
async def push_key(caller: Authenticated) -> PushKeyView:
    """Tell the key that a browser subscribes with (`applicationServerKey`)."""
    key = _office(caller).push_key
    if key is None:
        raise notifications.ChannelUnavailable(
            "This installation pushes nothing to browsers.", kind="web_push"
        )
    return PushKeyView(public_key=key)


@router.post("/push", status_code=201)
async def add_browser(new: SubscribeBrowser, caller: Authenticated) -> ChannelView:
    """Let this browser be pushed to, as long as its session lasts; the same one once more is renewed."""
    browser = notifications.Browser(new.endpoint, new.keys.p256dh, new.keys.auth)
    async with caller.transaction() as tx:
        channel = await notifications.add_browser(
            tx, caller.actor, office=_office(caller), session_id=caller.session_id, browser=browser
        )
    return _channel(channel)


@router.patch("/channels/{channel_id}")
async def change_channel(channel_id: UUID, change: ChangeChannel, caller: Authenticated) -> ChannelView:
    """Change a channel's priority, patience, what it carries, or its quiet hours, by its own clock."""
    quiet = {
        name: moment.replace(tzinfo=None) if moment else None
        for name, moment in (("quiet_from", change.quiet_from), ("quiet_until", change.quiet_until))
    }
    changes = notifications.ChannelChanges(**{**change.model_dump(), **quiet})
    async with caller.transaction() as tx:
        channel = await notifications.change_channel(tx, caller.actor, channel_id=channel_id, changes=changes)
    return _channel(channel)


@router.delete("/channels/{channel_id}", status_code=204)
async def remove_channel(channel_id: UUID, caller: Authenticated) -> None:
    """Forget a channel and what waits for it; a Telegram chat is unbound by it."""
    async with caller.transaction() as tx:
        await notifications.remove_channel(tx, caller.actor, channel_id=channel_id)


@router.post("/channels/{channel_id}/verify")
async def verify_channel(channel_id: UUID, proof: VerifyChannel, caller: Authenticated) -> AddedChannelView:
    """Prove by the code that was sent that an address is mine, or ask for a new code."""
    async with caller.transaction() as tx:
        if proof.code is None:
            added = await notifications.begin_verification(
                tx, caller.actor, office=_office(caller), channel_id=channel_id
            )
            return AddedChannelView.of(added, _office(caller))
        channel = await notifications.verify(tx, caller.actor, channel_id=channel_id, code=proof.code)
    if channel is None:
        raise notifications.CodeWrong  # After the commit: the try counts.
    return AddedChannelView(channel=_channel(channel))


@router.post("/channels/{channel_id}/test", status_code=202)
async def test_channel(channel_id: UUID, caller: Authenticated) -> ChannelView:
    """Send something to a channel, to see whether it works; the log tells what became of it."""
    async with caller.transaction() as tx:
        channel = await notifications.send_test(
            tx, caller.actor, office=_office(caller), channel_id=channel_id
        )
    return _channel(channel)


@router.get("")
async def list_notifications(
    caller: Authenticated, unread: bool = False, cursor: Cursor = None, limit: Limit = 50
) -> InboxView:
    """List what I am told, the newest first."""
    async with caller.transaction() as tx:
        page = await notifications.list_notifications(
            tx, caller.actor, unread=unread, before=_place(cursor), limit=limit + 1
        )
        count = await notifications.count_unread(tx, caller.actor)
    last = page[limit - 1][0] if len(page) > limit else None
    return InboxView(
        items=[NotificationView.of(*each) for each in page[:limit]],
        next_cursor=encode_cursor({"at": last.created_at, "id": last.id}) if last else None,
        unread=count,
    )


@router.post("/read")
async def mark_read(which: MarkRead, caller: Authenticated) -> ReadView:
    """Mark notifications of mine as read: they go to no further channel."""
    async with caller.transaction() as tx:
        await notifications.mark_read(tx, caller.actor, ids=which.ids, up_to=which.up_to)
        unread = await notifications.count_unread(tx, caller.actor)
    return ReadView(unread=unread)


@router.get("/log")
async def list_attempts(
    caller: Authenticated, everybody: bool = False, cursor: Cursor = None, limit: Limit = 50
) -> Page[AttemptView]:
    """List every attempt to tell me something, the newest first; an admin may see everybody's."""
    before = None
    if cursor is not None:
        place = decode_cursor(cursor, at=datetime, id=UUID, no=int)
        before = (place["at"], place["id"], place["no"])
    async with caller.transaction() as tx:
        page = await notifications.list_attempts(
            tx, caller.actor, everybody=everybody, before=before, limit=limit + 1
        )
    last = page[limit - 1] if len(page) > limit else None
    mark = encode_cursor({"at": last.ended_at, "id": last.delivery_id, "no": last.fence}) if last else None
    return Page(items=[AttemptView.of(attempt) for attempt in page[:limit]], next_cursor=mark)


@router.get("/dead-letters")
async def list_dead_letters(
    caller: Authenticated, cursor: Cursor = None, limit: Limit = 50
) -> Page[DeadLetterView]:
    """List what was given up in my organization, the newest first; for admins."""
    async with caller.transaction() as tx:
        page = await notifications.list_dead_letters(tx, caller.actor, before=_place(cursor), limit=limit + 1)
    last = page[limit - 1] if len(page) > limit else None
    mark = encode_cursor({"at": last.finished_at, "id": last.id}) if last else None
    return Page(items=[DeadLetterView.model_validate(dead) for dead in page[:limit]], next_cursor=mark)


@router.post("/dead-letters/{delivery_id}/replay", status_code=204)
async def replay(delivery_id: UUID, caller: Authenticated) -> None:
    """Try to deliver a dead letter again; for admins."""
    async with caller.transaction() as tx:
        await notifications.replay(tx, caller.actor, delivery_id=delivery_id)


def _channel(channel: Channel) -> ChannelView:
    view = ChannelView.model_validate(channel)
    if channel.kind != "web_push":
        return view
    # Whoever knows the whole address could push there.
    return view.model_copy(update={"address": urlsplit(channel.address or "").hostname})


def _binding(added: Added, office: Office) -> BindingView | None:
    if added.code is None or added.channel.code_expires_at is None:
        return None
    link = f"https://t.me/{office.bot_name}?start={added.code}" if office.bot_name else None
    return BindingView(
        code=added.code,
        link=link,
        qr_svg=segno.make(link, micro=False).svg_inline(scale=4) if link else None,
        expires_at=added.channel.code_expires_at,
    )


def _place(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    place = decode_cursor(cursor, at=datetime, id=UUID)
    return place["at"], place["id"]


def _office(caller: Caller) -> Office:
    return caller.engine.office
