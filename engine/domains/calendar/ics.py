"""Events as calendar programs read and write them (RFC 5545)."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, vRecur

from engine.core.errors import Refusal
from engine.core.text import one_line
from engine.domains.calendar.errors import IcsInvalid
from engine.domains.calendar.models import CalendarEvent, Plan, Schedule
from engine.domains.calendar.planning import LONGEST_TITLE, check_schedule
from engine.domains.calendar.recurrence import local_time, next_occurrence, occurrences
from engine.domains.calendar.working_days import WorkingCalendar

PRODUCT = "-//RuGPT Engine//calendar//"
LONG = timedelta(minutes=15)  # An event here is a moment; programs want a length.
AHEAD = timedelta(days=366)
# What is written of the past: the first of these that holds fewer than MOST_PAST times, or the last hour.
BEHIND = (timedelta(days=31), timedelta(days=1))
BEHIND_AT_LEAST = timedelta(hours=1)
MOST_PAST = 100
MOST_OF_ONE_EVENT = 400
MOST_READ = 500
ALL_DAY_AT = time(9)
LONGEST_TEXT = 8000


@dataclass(slots=True)
class Found:
    """What a file holds: plans by the name that programs know them by, and what cannot be kept, with why."""

    plans: dict[str, Plan] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)  # title, reason


def write(events: Iterable[tuple[CalendarEvent, WorkingCalendar]], *, now: datetime) -> bytes:
    """Return events as a file for calendar programs.

    A plain rule stays a rule. What programs do not know (cron lines, intervals, working days) is written time
    by time, a year ahead or as far as 400 times reach; the more often it comes, the less of its past is.
    """
    file = Calendar()
    file.add("prodid", PRODUCT)
    file.add("version", "2.0")
    file.add("method", "PUBLISH")
    file.add("x-wr-calname", "RuGPT")
    file.add("refresh-interval;value=duration", "PT1H")
    for event, working in events:
        for entry in _entries(event, working, now):
            file.add_component(entry)
    file.add_missing_timezones()
    written: bytes = file.to_ical()
    return written


def read(text: str, *, timezone: str, now: datetime) -> Found:
    """Return what a calendar program wrote; times without a zone, and whole days, are in `timezone`.

    Raises IcsInvalid for what is no such file, or holds too much. What is over is left out with a reason.
    """
    try:
        files = [Calendar.from_ical(text)]
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise IcsInvalid("This is no iCalendar file.") from error
    entries = [entry for file in files for entry in file.walk("VEVENT")]
    if len(entries) > MOST_READ:
        raise IcsInvalid(f"A file may hold {MOST_READ} events at most.", limit=MOST_READ)
    found = Found()
    moved: dict[str, list[datetime]] = {}
    for entry in entries:
        title = one_line(" ".join(str(entry.get("summary", "")).split()), longest=LONGEST_TITLE) or "…"
        try:
            uid, plan = _plan(entry, title, timezone)
            if (instead_of := entry.get("recurrence-id")) is not None:
                # One time of a series that was moved: the series leaves it out, and it stands alone.
                wall = local_time(_moment(instead_of.dt, timezone)[0], plan.schedule.timezone)
                moved.setdefault(uid, []).append(wall)
                uid = f"{uid[:300]}/{wall.isoformat()}"
            if next_occurrence(plan.schedule, after=now) is None:
                found.refused.append((title, "It is over."))
            else:
                found.plans[uid] = plan
        except Refusal as refusal:
            found.refused.append((title, refusal.message))
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
            found.refused.append((title, "It cannot be read."))
    for uid, walls in moved.items():
        series = found.plans.get(uid)
        if series is not None and series.schedule.kind == "recurring":
            exdates = tuple(dict.fromkeys([*series.schedule.exdates, *walls]))
            found.plans[uid] = replace(series, schedule=replace(series.schedule, exdates=exdates))
    return found


def _entries(event: CalendarEvent, working: WorkingCalendar, now: datetime) -> Iterable[Event]:
    schedule = event.plan.schedule
    if schedule.rrule is not None and schedule.working_days == "any":
        first = next_occurrence(schedule, after=schedule.starts_at - timedelta(seconds=1))
        if first is not None:
            yield _series(event, first.at)
        return
    since = _since(schedule, working, now)
    coming = takewhile(lambda one: one.at < now + AHEAD, occurrences(schedule, after=since, working=working))
    for occurrence in islice(coming, MOST_OF_ONE_EVENT):
        name = "" if schedule.kind == "one_time" else f"{occurrence.nominal:%Y%m%dT%H%M%SZ}-"
        yield _entry(event, occurrence.at, uid=f"{name}{event.uid}")


def _since(schedule: Schedule, working: WorkingCalendar, now: datetime) -> datetime:
    """Return from when on times are written, so that most of them are to come."""
    for since in (now - behind for behind in BEHIND):
        past = takewhile(lambda one: one.at < now, occurrences(schedule, after=since, working=working))
        if next(islice(past, MOST_PAST - 1, None), None) is None:
            return since
    return now - BEHIND_AT_LEAST


def _series(event: CalendarEvent, first: datetime) -> Event:
    schedule = event.plan.schedule
    entry = _entry(event, first, uid=event.uid)
    rule = schedule.rrule or ""
    if schedule.count is not None:
        rule += f";COUNT={schedule.count}"
    elif schedule.ends_at is not None:
        last = schedule.ends_at.astimezone(UTC) - timedelta(seconds=1)
        rule += f";UNTIL={last:%Y%m%dT%H%M%SZ}"
    entry.add("rrule", vRecur.from_ical(rule))
    zone = ZoneInfo(schedule.timezone)
    for wall in schedule.exdates:
        entry.add("exdate", wall.replace(tzinfo=zone))
    return entry


def _entry(event: CalendarEvent, at: datetime, *, uid: str) -> Event:
    plan = event.plan
    entry = Event()
    entry.add("uid", uid)
    entry.add("dtstamp", event.updated_at.astimezone(UTC))
    entry.add("last-modified", event.updated_at.astimezone(UTC))
    entry.add("sequence", event.version)
    entry.add("dtstart", at.astimezone(ZoneInfo(plan.schedule.timezone)))
    entry.add("duration", LONG)
    entry.add("summary", plan.title if plan.role_code is None else f"{plan.title} (@@{plan.role_code})")
    if text := "\n\n".join(filter(None, (plan.description, plan.instruction))):
        entry.add("description", text)
    if event.status == "paused":
        entry.add("status", "CANCELLED")
    return entry


def _plan(entry: Any, title: str, timezone: str) -> tuple[str, Plan]:
    uid = str(entry.get("uid", "")).strip()
    if not uid or len(uid) > 350 or not uid.isprintable():
        raise IcsInvalid("It has no usable UID.")
    if str(entry.get("status", "")).upper() == "CANCELLED":
        raise IcsInvalid("It was cancelled.")
    start, zone = _moment(entry["dtstart"].dt, timezone)
    schedule = Schedule("one_time", start, zone)
    if (rule := entry.get("rrule")) is not None:
        if isinstance(rule, list):
            raise IcsInvalid("It has several rules.")
        schedule = replace(
            schedule, kind="recurring", rrule=rule.to_ical().decode(), exdates=tuple(_exdates(entry, zone))
        )
    if entry.get("rdate") is not None:
        raise IcsInvalid("It has single dates besides its rule.")
    text = str(entry.get("description", "")).replace("\0", "")[:LONGEST_TEXT]
    return uid, Plan(title, check_schedule(schedule), text)


def _exdates(entry: Any, zone: str) -> Iterable[datetime]:
    given = entry.get("exdate")
    for each in [] if given is None else given if isinstance(given, list) else [given]:
        for one in each.dts:
            yield local_time(_moment(one.dt, zone)[0], zone)


def _moment(value: date | datetime, timezone: str) -> tuple[datetime, str]:
    """Return a moment, and the zone in which its hour is kept."""
    if not isinstance(value, datetime):
        value = datetime.combine(value, ALL_DAY_AT)
    if value.tzinfo is None:
        return value.replace(tzinfo=ZoneInfo(timezone)), timezone
    return value, _zone_of(value.tzinfo) or timezone


def _zone_of(zone: tzinfo) -> str | None:
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)
    try:
        return ZoneInfo(str(key)).key if key else None
    except (OSError, ValueError, LookupError):
        return None
