"""Puts notifications into words, as their reader may read them at this moment."""

import tomllib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from engine.core.database import Transaction
from engine.core.secret import Seal
from engine.domains import approvals, chats, users
from engine.domains.notifications import repository
from engine.domains.notifications.models import Claim, Note, Notification, Tiding
from engine.domains.notifications.orchestration import quiet_until
from engine.domains.users import Actor, User

WORDS = Path(__file__).parents[1] / "words"
MOST_TIDINGS = 50
LONGEST_BODY = 30_000
LONGEST_PREVIEW = 300
_OF_CHATS = ("mention", "draft", "run_failed")
Locale = Literal["ru", "en"]


async def compose(tx: Transaction, claim: Claim, *, seal: Seal) -> Note | datetime | str:
    """Return what a delivery says now, until when its channel is quiet, or why there is nothing to say."""
    delivery = await repository.find_delivery(tx, delivery_id=claim.id)
    found = await repository.channel_with_key(tx, channel_id=claim.channel_id)
    if delivery is None or found is None:
        return "channel_removed"
    channel, sealed_key = found
    reader = next(iter(await users.by_ids(tx, [channel.user_id])), None)
    if reader is None or not reader.is_active:
        return "person_inactive"
    address = reader.email if channel.is_own else channel.address
    if address is None or (channel.verified_at is None and delivery["purpose"] != "code"):
        return "channel_unverified"
    if channel.broken_at is not None:
        return "channel_broken"
    is_asked_for = delivery["purpose"] in ("code", "test")  # Somebody waits for it, at whatever hour.
    if not is_asked_for and (wakes_at := quiet_until(channel, claim.started_at)):
        return wakes_at
    tidings = []
    for notification in await repository.told_by(tx, delivery_id=claim.id, count=MOST_TIDINGS):
        told = None if notification.read_at else await tiding(tx, reader, notification)
        if told is not None:
            tidings.append(told)
    if not tidings and not is_asked_for:
        return "read_or_gone"
    code = delivery["sealed"]
    return Note(
        org_id=claim.org_id,
        delivery_id=claim.id,
        channel_id=channel.id,
        purpose=delivery["purpose"],
        address=address,
        locale=locale_of(reader),
        tidings=tuple(tidings),
        code=seal.open(code, about=f"code:{channel.id}").decode() if code else None,
        signing_key=seal.open(sealed_key, about=f"{channel.kind}:{channel.id}") if sealed_key else None,
    )


async def tiding(
    tx: Transaction, reader: User, notification: Notification, *, preview: bool = False
) -> Tiding | None:
    """Return a notification in words, or None when its reader may no longer read what it tells of."""
    actor = Actor(_org(tx), reader.id, reader.role)
    values: dict[str, Any] = {}
    body, may_sign = "", False
    chat_title = None
    if notification.chat_id is not None:
        chat_title = (await chats.titles_of(tx, [notification.chat_id])).get(notification.chat_id)
        if chat_title is None and notification.kind in _OF_CHATS:
            return None
        values["chat"] = chat_title
    if notification.kind == "mention":
        message = await _message(tx, actor, notification)
        if message is None or message.deleted_at is not None:
            return None
        author = await users.by_ids(tx, [message.author_id] if message.author_id else [])
        values["author"] = author[0].display_name if author else ""
        body = message.content
    elif notification.kind == "draft":
        draft_and_text = await _draft(tx, actor, notification)
        if draft_and_text is None:
            return None
        draft, body, may_sign = draft_and_text
        values["role"] = f"@@{draft.role_code}"
    else:
        values |= {name: str(value) for name, value in notification.facts.items()}
        values |= _moments(notification.facts)
        body = str(notification.facts.get("text") or "")
        message = await _message(tx, actor, notification)
        if notification.kind == "run_failed" and message is None:
            return None
        if notification.kind == "event" and message is not None and message.withdrawn_at is None:
            body = message.content
        if notification.facts.get("is_paused"):
            body = f"{body}\n\n{say(locale_of(reader), 'is_paused')}"
    longest = LONGEST_PREVIEW if preview else LONGEST_BODY
    return Tiding(
        notification_id=notification.id,
        kind=notification.kind,
        headline=say(locale_of(reader), notification.kind, values),
        body=body if len(body) <= longest else body[: longest - 1].rstrip() + "…",
        is_cut=len(body) > longest,
        chat_id=notification.chat_id,
        chat_title=chat_title,
        message_id=notification.message_id,
        subject_id=notification.subject_id,
        may_sign=may_sign,
        created_at=notification.created_at,
    )


def say(locale: Locale, what: str, values: dict[str, Any] | None = None) -> str:
    """Return a phrase with its values, on one line."""
    return " ".join(words(locale)[what].format_map(values or {}).split())


@cache
def words(locale: Locale) -> dict[str, str]:
    """Return every phrase of a language."""
    return dict(tomllib.loads((WORDS / f"{locale}.toml").read_text("utf-8")))


def locale_of(person: User) -> Locale:
    """Return the language in which somebody reads."""
    return "en" if person.locale == "en" else "ru"


async def _message(tx: Transaction, actor: Actor, notification: Notification) -> chats.Message | None:
    if notification.message_id is None:
        return None
    try:
        return await chats.get_message(tx, actor, message_id=notification.message_id)
    except chats.MessageNotFound:
        return None


async def _draft(
    tx: Transaction, actor: Actor, notification: Notification
) -> tuple[approvals.Draft, str, bool] | None:
    if notification.message_id is None:
        return None
    try:
        draft, may_sign = await approvals.get_draft(tx, actor, message_id=notification.message_id)
    except approvals.DraftNotFound:
        return None
    message = (await chats.messages_by_ids(tx, [draft.message_id]))[draft.message_id]
    return draft, message.content, may_sign and draft.status == "draft"


def _moments(facts: dict[str, Any]) -> dict[str, str]:
    """Return when an event came round, by the clock of its own zone."""
    if "occurs_at" not in facts:
        return {}
    here = datetime.fromisoformat(facts["occurs_at"]).astimezone(ZoneInfo(facts["timezone"]))
    return {"when": f"{here:%d.%m.%Y %H:%M}"}


def _org(tx: Transaction) -> UUID:
    assert tx.org_id is not None
    return tx.org_id
