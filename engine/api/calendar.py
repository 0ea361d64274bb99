"""The calendar: what is planned, when it comes round, and what happened each time."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, Field, NaiveDatetime

from engine.api.caller import Authenticated
from engine.api.views import Body, Page, View
from engine.core.cursor import decode_cursor, encode_cursor
from engine.core.database import Transaction
from engine.domains import calendar, users
from engine.domains.calendar import (
    CalendarEvent,
    EventKind,
    EventStatus,
    FiringStatus,
    Misfire,
    Occurrence,
    Plan,
    Schedule,
    WorkingDays,
)

router = APIRouter(prefix="/calendar", tags=["calendar"])

MOST_OF_ONE_EVENT = 200
MOST_IN_A_VIEW = 2000
MOST_EVENTS_IN_A_VIEW = 1000
Text = Annotated[str, Field(max_length=8_000)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]
_SCHEDULE = (
    *("kind", "starts_at", "timezone", "cron", "rrule", "every_seconds", "ends_at", "count", "exdates"),
    *("working_days", "country"),
)
_MAY_BE_MISSING = {"cron", "rrule", "every_seconds", "ends_at", "count", "role", "chat_id"}


class NewEvent(Body):
    """A plan. `cron` and `rrule` are wall-clock time in `timezone`; moments carry their offset."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    description: Text = ""
    kind: EventKind
    starts_at: AwareDatetime
    timezone: Annotated[str, Field(min_length=1, max_length=64)]
    cron: Annotated[str, Field(max_length=200)] | None = None
    rrule: Annotated[str, Field(max_length=500)] | None = None
    every_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    ends_at: AwareDatetime | None = None
    count: Annotated[int, Field(ge=0, le=10**6)] | None = None
    exdates: Annotated[list[NaiveDatetime], Field(default_factory=list, max_length=500)]
    working_days: WorkingDays = "any"
    country: Country = "RU"
    role: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    instruction: Text = ""
    chat_id: UUID | None = None
    notify: Annotated[list[UUID], Field(default_factory=list, max_length=200)]
    misfire: Misfire = "run_once"
    grace_seconds: Annotated[int, Field(ge=0, le=604_800)] = 300


class ChangeEvent(Body):
    """What is given is changed; null takes a thing away where it may be missing."""

    title: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Text | None = None
    kind: EventKind | None = None
    starts_at: AwareDatetime | None = None
    timezone: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    cron: Annotated[str, Field(max_length=200)] | None = None
    rrule: Annotated[str, Field(max_length=500)] | None = None
    every_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    ends_at: AwareDatetime | None = None
    count: Annotated[int, Field(ge=0, le=10**6)] | None = None
    exdates: Annotated[list[NaiveDatetime], Field(max_length=500)] | None = None
    working_days: WorkingDays | None = None
    country: Country | None = None
    role: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    instruction: Text | None = None
    chat_id: UUID | None = None
    notify: Annotated[list[UUID], Field(max_length=200)] | None = None
    misfire: Misfire | None = None
    grace_seconds: Annotated[int, Field(ge=0, le=604_800)] | None = None


class OccurrenceView(View):
    """A time that an event comes round: `occurrence` is its name, `local` the time on its own clock."""

    occurrence: datetime
    at: datetime
    local: datetime


class EventView(View):
    """Something planned; `next` is null when it is over."""

    id: UUID
    owner_id: UUID
    title: str
    description: str
    kind: EventKind
    starts_at: datetime
    timezone: str
    cron: str | None
    rrule: str | None
    every_seconds: int | None
    ends_at: datetime | None
    count: int | None
    exdates: list[datetime]
    working_days: WorkingDays
    country: str
    role: str | None
    instruction: str
    chat_id: UUID | None
    notify: list[UUID]
    misfire: Misfire
    grace_seconds: int
    status: EventStatus
    paused_because: str | None
    failures: int
    next: OccurrenceView | None
    version: int
    created_at: datetime
    updated_at: datetime


class FiringView(View):
    """What happened at one occurrence; `missed` earlier ones are made good, or given up, by it."""

    id: UUID
    event_id: UUID
    occurrence: datetime
    due_at: datetime
    fired_at: datetime
    status: FiringStatus
    is_manual: bool
    missed: int
    attempts: int
    message_id: UUID | None
    run_id: UUID | None
    answer_id: UUID | None
    error_code: str | None
    error_detail: str | None
    ended_at: datetime | None


class Planned(View):
    """An occurrence in a view of the calendar."""

    event_id: UUID
    title: str
    role: str | None
    occurrence: datetime
    at: datetime
    local: datetime


class CalendarView(View):
    """What comes between two moments; `is_complete` is false when there was too much of it."""

    items: list[Planned]
    is_complete: bool


class WorkingDaysView(View):
    """A year's days that are not what their weekday says, and what the organization itself said of some."""

    country: str
    year: int
    free: list[date]
    worked: list[date]
    changed: dict[date, bool]


class SetWorkingDays(Body):
    """What the organization says of single days of the year; true is worked. Replaces what it said before."""

    days: Annotated[dict[date, bool], Field(max_length=366)]


class Words(Body):
    """When something is to happen, as people say it."""

    text: Annotated[str, Field(min_length=1, max_length=200)]
    timezone: Annotated[str, Field(min_length=1, max_length=64)]


class UnderstoodView(View):
    """What was understood: the parts of a plan that say when, and the times to come."""

    kind: EventKind
    starts_at: datetime
    timezone: str
    rrule: str | None
    every_seconds: int | None
    working_days: WorkingDays
    country: str
    coming: list[OccurrenceView]


@router.post("/words")
async def understand_words(words: Words, caller: Authenticated) -> UnderstoodView:
    """Understand a time in words, Russian or English; what is ambiguous is refused and asked back."""
    now = datetime.now(UTC)
    schedule = calendar.understand(words.text, now=now, timezone=users.a_timezone(words.timezone))
    async with caller.transaction() as tx:
        coming = await calendar.preview(
            tx, Plan("", schedule), since=now, until=now + calendar.FARTHEST_PREVIEW, limit=5
        )
    return UnderstoodView(
        **{name: getattr(schedule, name) for name in UnderstoodView.model_fields if name != "coming"},
        coming=[_occurrence(one, schedule) for one in coming],
    )


@router.post("/events", status_code=201)
async def create_event(new: NewEvent, caller: Authenticated) -> EventView:
    """Plan something."""
    async with caller.transaction() as tx:
        event = await calendar.create_event(
            tx, caller.actor, _plan(new.model_dump()), known_roles=caller.engine.roles
        )
    return event_view(event)


@router.get("/events")
async def list_events(
    caller: Authenticated,
    mine: bool = False,
    chat_id: UUID | None = None,
    status: EventStatus | None = None,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Page[EventView]:
    """List the events that I planned, that tell me, or that are in my chats."""
    after_id = decode_cursor(cursor, id=UUID)["id"] if cursor else None
    async with caller.transaction() as tx:
        page = await calendar.list_events(
            tx,
            caller.actor,
            mine=mine,
            chat_id=chat_id,
            status=status,
            after_id=after_id,
            limit=limit + 1,
        )
    more = encode_cursor({"id": page[limit - 1].id}) if len(page) > limit else None
    return Page(items=[event_view(event) for event in page[:limit]], next_cursor=more)


@router.post("/preview")
async def preview_event(
    new: NewEvent,
    caller: Authenticated,
    limit: Annotated[int, Query(ge=1, le=100)] = 5,
) -> list[OccurrenceView]:
    """Check a plan and show when it would come next; nothing is kept."""
    async with caller.transaction() as tx:
        plan = await calendar.check(
            tx, caller.actor, _plan(new.model_dump()), known_roles=caller.engine.roles
        )
        now = datetime.now(UTC)
        coming = await calendar.preview(
            tx, plan, since=now, until=now + calendar.FARTHEST_PREVIEW, limit=limit
        )
    return [_occurrence(one, plan.schedule) for one in coming]


@router.get("/occurrences")
async def list_occurrences(
    caller: Authenticated,
    since: Annotated[AwareDatetime, Query(alias="from")],
    until: Annotated[AwareDatetime, Query(alias="to")],
    chat_id: UUID | None = None,
) -> CalendarView:
    """Show what comes between two moments, of all events that I may see; a year at most."""
    if not since < until <= since + timedelta(days=366):
        raise calendar.TooManyOccurrences("A view reaches from a moment to a later one, a year at most.")
    items: list[Planned] = []
    is_complete = True
    async with caller.transaction() as tx:
        events = await calendar.list_events(
            tx, caller.actor, chat_id=chat_id, status="active", limit=MOST_EVENTS_IN_A_VIEW
        )
        for event in events:
            coming = await calendar.preview(tx, event.plan, since=since, until=until, limit=MOST_OF_ONE_EVENT)
            is_complete = is_complete and len(coming) < MOST_OF_ONE_EVENT
            items.extend(_planned(event, one) for one in coming)
            if len(items) > MOST_IN_A_VIEW:
                break
    is_complete = is_complete and len(events) < MOST_EVENTS_IN_A_VIEW and len(items) <= MOST_IN_A_VIEW
    return CalendarView(items=sorted(items, key=lambda one: one.at)[:MOST_IN_A_VIEW], is_complete=is_complete)


@router.get("/events/{event_id}")
async def get_event(event_id: UUID, caller: Authenticated) -> EventView:
    """Show an event."""
    async with caller.transaction() as tx:
        return event_view(await calendar.get_event(tx, caller.actor, event_id=event_id))


@router.patch("/events/{event_id}")
async def change_event(event_id: UUID, change: ChangeEvent, caller: Authenticated) -> EventView:
    """Change an event; one that was paused or over goes on, if there is something to come."""
    async with caller.transaction() as tx:
        before = event_view(await calendar.get_event(tx, caller.actor, event_id=event_id)).model_dump()
        given = change.model_dump(exclude_unset=True)
        changes = {
            name: value for name, value in given.items() if value is not None or name in _MAY_BE_MISSING
        }
        plan = _plan(before | changes)
        event = await calendar.change_event(
            tx, caller.actor, event_id=event_id, plan=plan, known_roles=caller.engine.roles
        )
    return event_view(event)


@router.delete("/events/{event_id}", status_code=204)
async def delete_event(event_id: UUID, caller: Authenticated) -> None:
    """Let an event come no more."""
    async with caller.transaction() as tx:
        await calendar.delete_event(tx, caller.actor, event_id=event_id)


@router.get("/events/{event_id}/occurrences")
async def event_occurrences(
    event_id: UUID,
    caller: Authenticated,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> list[OccurrenceView]:
    """Show when an event comes between two moments, by default in the next thirty days; 1,000 at most."""
    since = since or datetime.now(UTC)
    async with caller.transaction() as tx:
        event = await calendar.get_event(tx, caller.actor, event_id=event_id)
        coming = await calendar.preview(
            tx, event.plan, since=since, until=until or since + timedelta(days=30)
        )
    return [_occurrence(one, event.plan.schedule) for one in coming]


@router.get("/events/{event_id}/firings")
async def event_firings(
    event_id: UUID,
    caller: Authenticated,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Page[FiringView]:
    """Show what happened with an event, newest first."""
    place = decode_cursor(cursor, at=datetime, id=UUID) if cursor else None
    before = (place["at"], place["id"]) if place else None
    async with caller.transaction() as tx:
        page = await calendar.list_firings(
            tx, caller.actor, event_id=event_id, before=before, limit=limit + 1
        )
    more = None
    if len(page) > limit:
        more = encode_cursor({"at": page[limit - 1].fired_at, "id": page[limit - 1].id})
    return Page(items=[FiringView.model_validate(one) for one in page[:limit]], next_cursor=more)


@router.post("/events/{event_id}/fire")
async def fire_event(event_id: UUID, caller: Authenticated) -> FiringView:
    """Let an event happen now, besides its schedule."""
    async with caller.transaction() as tx:
        firing = await calendar.fire_now(tx, caller.actor, event_id=event_id, known_roles=caller.engine.roles)
    return FiringView.model_validate(firing)


@router.post("/events/{event_id}/pause")
async def pause_event(event_id: UUID, caller: Authenticated) -> EventView:
    """Let an event rest."""
    async with caller.transaction() as tx:
        return event_view(await calendar.pause_event(tx, caller.actor, event_id=event_id))


@router.post("/events/{event_id}/resume")
async def resume_event(event_id: UUID, caller: Authenticated) -> EventView:
    """Let a paused event go on with what is still to come."""
    async with caller.transaction() as tx:
        return event_view(await calendar.resume_event(tx, caller.actor, event_id=event_id))


@router.get("/working-days/{country}/{year}")
async def get_working_days(
    country: Annotated[str, Path(pattern="^[A-Z]{2}$")],
    year: Annotated[int, Path(ge=2000, le=2100)],
    caller: Authenticated,
) -> WorkingDaysView:
    """Show which weekends of a year are worked, and which other days are free."""
    async with caller.transaction() as tx:
        return await _working_days(tx, country, year)


@router.put("/working-days/{country}/{year}")
async def set_working_days(
    country: Annotated[str, Path(pattern="^[A-Z]{2}$")],
    year: Annotated[int, Path(ge=2000, le=2100)],
    given: SetWorkingDays,
    caller: Authenticated,
) -> WorkingDaysView:
    """Say of single days of a year whether they are worked; administrators only."""
    async with caller.transaction() as tx:
        await calendar.set_working_days(tx, caller.actor, country=country, year=year, days=given.days)
        return await _working_days(tx, country, year)


def event_view(event: CalendarEvent) -> EventView:
    """Show an event."""
    plan, schedule = event.plan, event.plan.schedule
    return EventView(
        id=event.id,
        owner_id=event.owner_id,
        title=plan.title,
        description=plan.description,
        **{name: getattr(schedule, name) for name in _SCHEDULE if name != "exdates"},
        exdates=list(schedule.exdates),
        role=plan.role_code,
        instruction=plan.instruction,
        chat_id=plan.chat_id,
        notify=list(plan.notify),
        misfire=plan.misfire,
        grace_seconds=plan.grace_seconds,
        status=event.status,
        paused_because=event.paused_because,
        failures=event.failures,
        next=_occurrence(event.next, schedule) if event.next else None,
        version=event.version,
        created_at=event.created_at,
        updated_at=event.updated_at,
    )


def _plan(given: dict[str, Any]) -> Plan:
    schedule = Schedule(**{name: given[name] for name in _SCHEDULE})
    return Plan(
        title=given["title"],
        schedule=replace(schedule, exdates=tuple(schedule.exdates)),
        description=given["description"],
        role_code=given["role"],
        instruction=given["instruction"],
        chat_id=given["chat_id"],
        notify=tuple(given["notify"]),
        misfire=given["misfire"],
        grace_seconds=given["grace_seconds"],
    )


def _occurrence(one: Occurrence, schedule: Schedule) -> OccurrenceView:
    return OccurrenceView(
        occurrence=one.nominal, at=one.at, local=one.at.astimezone(ZoneInfo(schedule.timezone))
    )


def _planned(event: CalendarEvent, one: Occurrence) -> Planned:
    shown = _occurrence(one, event.plan.schedule)
    return Planned(event_id=event.id, title=event.plan.title, role=event.plan.role_code, **shown.model_dump())


async def _working_days(tx: Transaction, country: str, year: int) -> WorkingDaysView:
    working = await calendar.working_calendar(tx, country)
    return WorkingDaysView(
        country=country,
        year=year,
        free=working.free(year),
        worked=working.worked(year),
        changed=working.changed(year),
    )
