"""What people do with their channels."""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from engine.core.database import Transaction
from engine.domains import audit, users
from engine.domains.notifications import repository
from engine.domains.notifications.errors import (
    AddressInvalid,
    ChannelExists,
    ChannelFixed,
    ChannelNotFound,
    ChannelUnavailable,
    ChannelUnverified,
    ChannelVerified,
    CodeSentRecently,
    QuietHoursInvalid,
    TooManyChannels,
)
from engine.domains.notifications.models import (
    KINDS,
    Bound,
    Browser,
    Channel,
    ChannelChanges,
    ChannelKind,
    Kind,
    OutboxFilled,
    Purpose,
)
from engine.domains.notifications.office import Office
from engine.domains.users import Actor, User

PATIENCE_SECONDS = 600
PRIORITIES: dict[ChannelKind, int] = {
    "in_app": 100,
    "telegram": 100,
    "webhook": 100,
    "web_push": 100,
    "email": 50,
}
MOST_CHANNELS = 20
MOST_TRIES = 5
CODE_SECONDS = 15 * 60
CODE_PAUSE_SECONDS = 30
_CODE_DIGITS = 8
_LONGEST_URL = 2000
_HOST = re.compile(r"[^\s/?#@]+")


@dataclass(frozen=True, slots=True)
class Added:
    """A new channel, with what is shown of it only now: a webhook's key, or how to bind Telegram."""

    channel: Channel
    key: str | None = None
    code: str | None = None


async def list_channels(tx: Transaction, actor: Actor) -> list[Channel]:
    """Return one's own channels, those that everybody has among them."""
    return (await channels_of(tx, [await users.get_user(tx, user_id=actor.user_id)]))[actor.user_id]


async def channels_of(tx: Transaction, people: list[User]) -> dict[UUID, list[Channel]]:
    """Return the channels of some people; the channels that everybody has are made where they are missing."""
    ids = [person.id for person in people]
    found = await repository.channels_of(tx, user_ids=ids)
    equipped = {channel.user_id for channel in found if channel.kind == "in_app"}
    if missing := {person.id: person.timezone for person in people if person.id not in equipped}:
        await repository.ensure_channels(
            tx, timezones=missing, patience_seconds=PATIENCE_SECONDS, carries=list(KINDS)
        )
        found = await repository.channels_of(tx, user_ids=ids)
    emails = {person.id: person.email for person in people}
    # The account's own channel goes wherever the account's address is now.
    found = [
        replace(channel, address=emails[channel.user_id]) if channel.is_own else channel for channel in found
    ]
    return {user_id: [channel for channel in found if channel.user_id == user_id] for user_id in ids}


async def add_channel(
    tx: Transaction,
    actor: Actor,
    *,
    office: Office,
    kind: ChannelKind,
    address: str | None = None,
    priority: int | None = None,
    patience_seconds: int | None = None,
    timezone: str | None = None,
    carries: list[Kind] | None = None,
) -> Added:
    """Add a channel of one's own; e-mail and Telegram carry nothing until they are verified."""
    person = await users.get_user(tx, user_id=actor.user_id)
    existing = (await channels_of(tx, [person]))[person.id]
    _require_reach(office, kind)
    if kind == "in_app":
        raise ChannelExists
    if kind == "web_push":
        raise AddressInvalid("A browser subscribes itself: POST /api/v1/notifications/push.")
    if len(existing) >= MOST_CHANNELS:
        raise TooManyChannels(MOST_CHANNELS)
    address = _checked_address(kind, address)
    is_own = kind == "email" and (address or "").casefold() == person.email.casefold()
    if is_own:
        revived = await repository.revive_own(tx, user_id=person.id)
        if revived is None:
            raise ChannelExists
        return Added(replace(revived, address=person.email))
    channel_id = uuid4()
    key = secrets.token_urlsafe(32) if kind == "webhook" else None
    channel = await repository.insert_channel(
        tx,
        channel_id=channel_id,
        user_id=person.id,
        kind=kind,
        address=address,
        sealed_key=office.seal.close(key.encode(), about=f"webhook:{channel_id}") if key else None,
        priority=PRIORITIES[kind] if priority is None else priority,
        patience_seconds=PATIENCE_SECONDS if patience_seconds is None else patience_seconds,
        timezone=users.a_timezone(timezone or person.timezone),
        carries=list(KINDS) if carries is None else list(dict.fromkeys(carries)),
        is_verified=kind == "webhook",
    )
    await _record(tx, actor, "added", channel)
    if kind == "webhook":
        return Added(channel, key=key)
    return await _send_code(tx, office, channel)


async def add_browser(
    tx: Transaction, actor: Actor, *, office: Office, session_id: UUID, browser: Browser
) -> Channel:
    """Let one's browser be pushed to as long as its session lasts; once more renews it."""
    person = await users.get_user(tx, user_id=actor.user_id)
    existing = (await channels_of(tx, [person]))[person.id]
    _require_reach(office, "web_push")
    address = _checked_address("web_push", browser.endpoint)
    assert address is not None
    known = await repository.browser_at(tx, user_id=person.id, address=address)
    channel_id = known or uuid4()
    keys = json.dumps({"p256dh": browser.p256dh, "auth": browser.auth}).encode()
    sealed_key = office.seal.close(keys, about=f"web_push:{channel_id}")
    if known is not None:
        return await repository.renew_browser(
            tx, channel_id=known, session_id=session_id, sealed_key=sealed_key
        )
    if len(existing) >= MOST_CHANNELS:
        raise TooManyChannels(MOST_CHANNELS)
    channel = await repository.insert_channel(
        tx,
        channel_id=channel_id,
        user_id=person.id,
        kind="web_push",
        address=address,
        sealed_key=sealed_key,
        priority=PRIORITIES["web_push"],
        patience_seconds=PATIENCE_SECONDS,
        timezone=person.timezone,
        carries=["mention", "draft"],
        is_verified=True,
        session_id=session_id,
    )
    await _record(tx, actor, "added", channel)
    return channel


async def change_channel(
    tx: Transaction, actor: Actor, *, channel_id: UUID, changes: ChannelChanges
) -> Channel:
    """Change when and what a channel carries."""
    channel = await get_channel(tx, actor, channel_id=channel_id)
    quiet = (changes.quiet_from or channel.quiet_from, changes.quiet_until or channel.quiet_until)
    if (quiet[0] is None) != (quiet[1] is None):
        raise QuietHoursInvalid
    if changes.timezone is not None:
        users.a_timezone(changes.timezone)
    if changes.carries is not None:
        changes = replace(changes, carries=list(dict.fromkeys(changes.carries)))
    await repository.update_channel(tx, channel_id=channel_id, changes=changes)
    return await get_channel(tx, actor, channel_id=channel_id)


async def remove_channel(tx: Transaction, actor: Actor, *, channel_id: UUID) -> None:
    """Forget a channel, its address and what waits for it; this also unbinds a Telegram chat."""
    channel = await get_channel(tx, actor, channel_id=channel_id)
    if channel.kind == "in_app":
        raise ChannelFixed
    await repository.remove_channel(tx, channel_id=channel_id)
    await _record(tx, actor, "removed", channel)


async def get_channel(tx: Transaction, actor: Actor, *, channel_id: UUID) -> Channel:
    """Return a channel of one's own, locked until the commit."""
    person = await users.get_user(tx, user_id=actor.user_id)
    channel = await repository.lock_channel(tx, channel_id=channel_id, user_id=actor.user_id)
    if channel is None:
        raise ChannelNotFound(channel_id)
    return replace(channel, address=person.email) if channel.is_own else channel


async def begin_verification(tx: Transaction, actor: Actor, *, office: Office, channel_id: UUID) -> Added:
    """Send a new code to an e-mail address, or give a new code for a Telegram chat."""
    channel = await get_channel(tx, actor, channel_id=channel_id)
    if channel.verified_at is not None:
        if channel.broken_at is None:
            raise ChannelVerified
        await repository.mend_channel(tx, channel_id=channel_id)
        return Added(await get_channel(tx, actor, channel_id=channel_id))
    _require_reach(office, channel.kind)
    return await _send_code(tx, office, channel)


async def verify(tx: Transaction, actor: Actor, *, channel_id: UUID, code: str) -> Channel | None:
    """Prove by a code that an address is one's own; None for a wrong code, and this transaction counts it."""
    channel = await get_channel(tx, actor, channel_id=channel_id)
    if channel.verified_at is not None:
        raise ChannelVerified
    tried = await repository.try_code(
        tx, channel_id=channel_id, code_hash=code_hash(code, channel_id), most_tries=MOST_TRIES
    )
    if tried is None or tried.verified_at is None:
        return None
    await _record(tx, actor, "verified", channel)
    return tried


async def send_test(tx: Transaction, actor: Actor, *, office: Office, channel_id: UUID) -> Channel:
    """Let a channel say that it works."""
    channel = await get_channel(tx, actor, channel_id=channel_id)
    if channel.verified_at is None:
        raise ChannelUnverified
    if channel.kind == "in_app":
        tx.announce(actor.user_id, "notification.test", {"channel_id": channel_id})
        return channel
    _require_reach(office, channel.kind)
    await _send(tx, channel, "test")
    return channel


async def mute(tx: Transaction, *, channel_id: UUID) -> bool:
    """Let a channel carry nothing, as its letters' link asks; False when it is no more."""
    muted = await repository.mute_channel(tx, channel_id=channel_id)
    if muted:
        await audit.record(tx, actor_id=None, action="channel.muted", subject_id=channel_id)
    return muted


# Telegram, where people prove who they are by a code.


async def organization_of_code(across: Transaction, code: str) -> UUID | None:
    """Return the organization in which a code for Telegram was given."""
    return await repository.organization_of_code(across, code_hash=code_hash(code))


async def bind_chat(tx: Transaction, *, code: str, address: str) -> Channel | None:
    """Make a Telegram chat the channel for which a code was given; None for one that is used or too old."""
    channel = await repository.bind_chat(tx, code_hash=code_hash(code), address=address)
    if channel is not None:
        await audit.record(
            tx,
            actor_id=channel.user_id,
            action="channel.verified",
            subject_id=channel.id,
            kind=channel.kind,
        )
    return channel


async def bound_chat(across: Transaction, *, address: str) -> Bound | None:
    """Return whose a Telegram chat is."""
    return await repository.bound_chat(across, address=address)


async def break_chat(tx: Transaction, bound: Bound, *, reason: str) -> None:
    """Stop sending to a chat whose owner has blocked the bot."""
    await repository.break_channel(tx, channel_id=bound.channel_id, reason=reason)


async def mend_chat(tx: Transaction, bound: Bound) -> None:
    """Send to a chat again whose owner has let the bot back in."""
    await repository.mend_channel(tx, channel_id=bound.channel_id)


def code_hash(code: str, channel_id: UUID | None = None) -> bytes:
    """Return what a code is recognized by; short ones belong to one channel."""
    whose = channel_id.bytes if channel_id else b""
    return hashlib.sha256(whose + code.strip().encode(errors="replace")).digest()


async def _send_code(tx: Transaction, office: Office, channel: Channel) -> Added:
    """Make a new code: for Telegram it is shown, to an e-mail address it is sent."""
    if channel.kind == "telegram":
        code = secrets.token_urlsafe(16)
        channel = await repository.set_code(
            tx, channel_id=channel.id, code_hash=code_hash(code), seconds=CODE_SECONDS
        )
        return Added(channel, code=code)
    sent_at = channel.code_expires_at and channel.code_expires_at - timedelta(seconds=CODE_SECONDS)
    if sent_at and datetime.now(UTC) < sent_at + timedelta(seconds=CODE_PAUSE_SECONDS):
        raise CodeSentRecently(CODE_PAUSE_SECONDS)
    code = f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}"
    channel = await repository.set_code(
        tx, channel_id=channel.id, code_hash=code_hash(code, channel.id), seconds=CODE_SECONDS
    )
    await _send(tx, channel, "code", sealed=office.seal.close(code.encode(), about=f"code:{channel.id}"))
    return Added(channel)


async def _send(tx: Transaction, channel: Channel, purpose: Purpose, *, sealed: bytes | None = None) -> None:
    await repository.insert_delivery(tx, channel, purpose=purpose, notification_ids=[], sealed=sealed)
    tx.after_commit(OutboxFilled())


def _require_reach(office: Office, kind: ChannelKind) -> None:
    if kind not in office.kinds:
        raise ChannelUnavailable(f"This installation is not set up for {kind}. Ask its operator.", kind=kind)


def _checked_address(kind: ChannelKind, address: str | None) -> str | None:
    if kind == "telegram":
        if address is not None:
            raise AddressInvalid("A Telegram chat is bound by its code, not by an address.")
        return None
    if not address:
        raise AddressInvalid("This channel needs an address.")
    if kind == "email":
        return users.an_email(address)
    try:
        url = urlsplit(address)
        port = url.port
    except ValueError:
        raise AddressInvalid("This is no URL.") from None
    host = url.netloc.rpartition("@")[2]
    is_sound = url.scheme in ("http", "https") and _HOST.fullmatch(host) and "@" not in url.netloc
    if (
        not is_sound
        or port not in (None, 80, 443)
        or len(address) > _LONGEST_URL
        or not address.isprintable()
    ):
        raise AddressInvalid("Give a URL such as https://example.com/hook, on port 80 or 443.")
    if kind == "web_push" and url.scheme != "https":
        raise AddressInvalid("A browser is pushed to over https.")
    return address


async def _record(tx: Transaction, actor: Actor, what: str, channel: Channel) -> None:
    await audit.record(
        tx, actor_id=actor.user_id, action=f"channel.{what}", subject_id=channel.id, kind=channel.kind
    )
