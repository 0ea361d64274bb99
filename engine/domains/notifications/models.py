"""What people are told, by which channels, and what became of it."""

from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, Literal
from uuid import UUID

Kind = Literal["mention", "draft", "run_failed", "event", "firing_failed"]
ChannelKind = Literal["in_app", "email", "telegram", "webhook", "web_push"]
Purpose = Literal["note", "digest", "code", "test"]
AttemptOutcome = Literal["sent", "delayed", "refused", "unknown", "dropped"]
DeliveryStatus = Literal["queued", "sending", "sent", "dead", "dropped"]
KINDS: tuple[Kind, ...] = ("mention", "draft", "run_failed", "event", "firing_failed")


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to reach one person. Channels of equal priority are told together, the highest first."""

    id: UUID
    user_id: UUID
    kind: ChannelKind
    is_own: bool
    address: str | None
    priority: int
    patience_seconds: int
    quiet_from: time | None
    quiet_until: time | None
    timezone: str
    carries: list[str]
    verified_at: datetime | None
    broken_at: datetime | None
    broken_code: str | None
    code_expires_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Browser:
    """What a browser gives to be pushed to: where, and the keys that only it can undo (base64url)."""

    endpoint: str
    p256dh: str
    auth: str


@dataclass(frozen=True, slots=True)
class ChannelChanges:
    """What is to change about a channel; None leaves a thing; equal quiet times: never quiet."""

    priority: int | None = None
    patience_seconds: int | None = None
    quiet_from: time | None = None
    quiet_until: time | None = None
    timezone: str | None = None
    carries: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that people are told of; `key` names it, and nobody is told twice of one key."""

    kind: Kind
    key: str
    chat_id: UUID | None = None
    message_id: UUID | None = None
    message_no: int | None = None
    subject_id: UUID | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notification:
    """That one person was told, or has still to be told, of something."""

    id: UUID
    user_id: UUID
    kind: Kind
    chat_id: UUID | None
    message_id: UUID | None
    message_no: int | None
    subject_id: UUID | None
    facts: dict[str, Any]
    created_at: datetime
    read_at: datetime | None
    told: int | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Tiding:
    """One notification in words, as its reader may read it at this moment."""

    notification_id: UUID
    kind: Kind
    headline: str
    body: str  # Markdown
    is_cut: bool
    chat_id: UUID | None
    chat_title: str | None
    message_id: UUID | None
    subject_id: UUID | None
    may_sign: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """What one delivery says, to whom and where; every courier writes it in its own way."""

    org_id: UUID
    delivery_id: UUID
    channel_id: UUID
    purpose: Purpose
    address: str
    locale: Literal["ru", "en"]
    tidings: tuple[Tiding, ...] = ()
    code: str | None = None
    signing_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery in a process's hands, as long as its lease runs and nobody raised the fence."""

    org_id: UUID
    id: UUID
    channel_id: UUID
    kind: ChannelKind
    fence: int
    attempts: int
    unknowns: int
    parts_sent: int
    started_at: datetime
    lost_fence: int | None  # an attempt before this one, of which nobody knows how it ended
    lost_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver, as the log shows it."""

    delivery_id: UUID
    fence: int
    user_id: UUID
    channel_id: UUID
    channel_kind: ChannelKind
    purpose: Purpose
    started_at: datetime
    ended_at: datetime
    outcome: AttemptOutcome
    detail: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
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


@dataclass(frozen=True, slots=True)
class Bound:
    """A Telegram chat that belongs to somebody."""

    org_id: UUID
    channel_id: UUID
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Stirred:
    """There is somebody to tell; wakes those who plan how, in every process."""


@dataclass(frozen=True, slots=True)
class OutboxFilled:
    """There is something to send; wakes those who do, in every process."""


@dataclass(frozen=True, slots=True)
class TelegramStirred:
    """Telegram told something that waits to be worked on."""
