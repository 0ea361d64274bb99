"""Calendar: what was planned, when it comes round, and what happened each time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

EventKind = Literal["one_time", "recurring", "interval"]
EventStatus = Literal["active", "paused", "ended"]
Misfire = Literal["run_once", "run_all", "skip"]
WorkingDays = Literal["any", "next", "previous", "skip"]
FiringStatus = Literal["running", "waiting", "done", "failed", "skipped", "cancelled"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When an event comes round.

    `starts_at` has an offset. A recurring event has either `cron` (five fields) or `rrule` (RFC 5545,
    without DTSTART); both are wall-clock time in `timezone`, from `starts_at` on. An interval counts
    `every_seconds` of real time from `starts_at`. It ends after `count` occurrences, or before `ends_at`,
    or never.
    """

    kind: EventKind
    starts_at: datetime
    timezone: str
    cron: str | None = None
    rrule: str | None = None
    every_seconds: int | None = None
    ends_at: datetime | None = None
    count: int | None = None
    exdates: tuple[datetime, ...] = ()  # wall-clock moments, without an offset, at which it does not come
    working_days: WorkingDays = "any"
    country: str = "RU"  # whose working days


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time that an event comes round: `nominal` names it for ever, `at` is when it fires."""

    nominal: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen, and when.

    With a role, the role works on `instruction` in the chat; without one, `description` is said there, if
    there is a chat. `notify` are the people to tell. An occurrence that nobody looked at for longer than
    `grace_seconds` was missed, and `misfire` says what becomes of it.
    """

    title: str
    schedule: Schedule
    description: str = ""
    role_code: str | None = None
    instruction: str = ""
    chat_id: UUID | None = None
    notify: tuple[UUID, ...] = ()
    misfire: Misfire = "run_once"
    grace_seconds: int = 300


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """Something planned, and how far it is."""

    id: UUID
    owner_id: UUID
    plan: Plan
    status: EventStatus
    paused_because: str | None
    failures: int  # failed firings in a row
    next: Occurrence | None
    version: int
    uid: str  # how calendar programs know it
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Firing:
    """What happened at one occurrence; there is one firing for each, however many processes look."""

    id: UUID
    event_id: UUID
    occurrence: datetime
    due_at: datetime
    fired_at: datetime
    status: FiringStatus
    is_manual: bool
    missed: int  # earlier occurrences that this one stands for, missed while nobody looked
    attempts: int
    message_id: UUID | None
    run_id: UUID | None
    answer_id: UUID | None
    error_code: str | None
    error_detail: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventFired:
    """There is something to tell the people of an event.

    Emitted when an event without a role fires, or, where a role works, once its answer is final: signed,
    or not in need of it. `message_id` is the reminder or the answer in the event's chat.
    """

    event_id: UUID
    firing_id: UUID
    title: str
    text: str
    chat_id: UUID | None
    message_id: UUID | None
    role_code: str | None
    owner_id: UUID
    notify: tuple[UUID, ...]
    occurs_at: datetime
    timezone: str


@dataclass(frozen=True, slots=True)
class FiringFailed:
    """An event's firing failed for good; `is_paused` when it was one too many in a row."""

    event_id: UUID
    firing_id: UUID
    title: str
    owner_id: UUID
    chat_id: UUID | None
    code: str
    detail: str
    is_paused: bool


@dataclass(frozen=True, slots=True)
class CalendarChanged:
    """Something may be due sooner than was thought; wakes the schedulers."""
