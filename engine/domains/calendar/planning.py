"""What a plan must be before it is kept."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from croniter import CroniterError, croniter

from engine.core.text import one_line
from engine.domains.calendar.errors import EventInvalid, EventNeverComes, ScheduleInvalid
from engine.domains.calendar.models import Occurrence, Plan, Schedule
from engine.domains.calendar.recurrence import follows_the_clock, local_time, next_occurrence, parse_rrule
from engine.domains.calendar.working_days import WorkingCalendar
from engine.domains.users import a_timezone

LONGEST_TITLE = 200
MOST_NOTIFIED = 200
MOST_COUNT = 1000
MOST_EXDATES = 500
SHORTEST_SECONDS, LONGEST_SECONDS = 60, 366 * 86400
OLDEST_START = timedelta(days=5 * 366)  # A rule is drawn from its start on, whenever it is asked.
FARTHEST_START = timedelta(days=30 * 365)
MOST_TIMES_A_DAY = 24

# Five fields, with names of days and months; no seconds, no words such as @reboot, nothing drawn by lot.
_CRON = re.compile(r"[0-9*/,\-]+ [0-9*/,\-]+ [0-9*/,\-L]+ [0-9A-Za-z*/,\-]+ [0-9A-Za-z*/,\-#]+")
_RRULE_PART = re.compile(r"([A-Z]+)=([A-Z0-9,+\-]+)")
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_RRULE_KEYS = {
    "FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYYEARDAY", "BYWEEKNO", "BYSETPOS", "BYHOUR",
    "BYMINUTE", "WKST",
}  # fmt: skip


def check_plan(plan: Plan) -> Plan:
    """Return the plan as it is kept; raises EventInvalid or ScheduleInvalid for what makes no sense."""
    title = one_line(" ".join(plan.title.split()), longest=LONGEST_TITLE)
    if title is None:
        raise EventInvalid(f"A title has 1 to {LONGEST_TITLE} characters.", field="title")
    if plan.role_code is not None and plan.chat_id is None:
        raise EventInvalid("A role works in a chat: name one.", field="chat_id")
    if plan.instruction and plan.role_code is None:
        raise EventInvalid("An instruction needs a role that follows it.", field="role")
    if len(plan.notify) > MOST_NOTIFIED:
        raise EventInvalid(
            f"{MOST_NOTIFIED} people at most can be told.", field="notify", limit=MOST_NOTIFIED
        )
    return replace(
        plan, title=title, notify=tuple(dict.fromkeys(plan.notify)), schedule=check_schedule(plan.schedule)
    )


def check_schedule(schedule: Schedule) -> Schedule:
    """Return the schedule as it is kept, or raise ScheduleInvalid, which names the field that is wrong."""
    a_timezone(schedule.timezone)
    WorkingCalendar(schedule.country)
    _require_parts(schedule)
    if schedule.rrule is not None:
        schedule = _without_end(schedule)
    if schedule.cron is not None:
        schedule = replace(schedule, cron=_a_cron(schedule.cron))
    for field, moment in (("starts_at", schedule.starts_at), ("ends_at", schedule.ends_at)):
        if moment is not None and moment.tzinfo is None:
            raise ScheduleInvalid("A moment needs its offset, such as 2026-12-01T10:00+03:00.", field=field)
    if schedule.ends_at is not None and schedule.ends_at <= schedule.starts_at:
        raise ScheduleInvalid("It ends before it begins.", field="ends_at")
    if schedule.count is not None and not 1 <= schedule.count <= MOST_COUNT:
        raise ScheduleInvalid(f"A count is from 1 to {MOST_COUNT}.", field="count", limit=MOST_COUNT)
    if len(schedule.exdates) > MOST_EXDATES:
        raise ScheduleInvalid(f"{MOST_EXDATES} exceptions at most.", field="exdates", limit=MOST_EXDATES)
    if schedule.working_days in ("next", "previous") and (
        schedule.kind == "interval" or follows_the_clock(schedule)
    ):
        raise ScheduleInvalid(
            "Only what has an hour of its own can be moved to another day.", field="working_days"
        )
    return schedule


def first_occurrence(schedule: Schedule, working: WorkingCalendar, *, now: datetime) -> Occurrence:
    """Return the first occurrence to come; raises EventNeverComes when there is none."""
    if schedule.starts_at < now - OLDEST_START or schedule.starts_at > now + FARTHEST_START:
        raise ScheduleInvalid("It begins too long ago or too far ahead.", field="starts_at")
    if (found := next_occurrence(schedule, after=now, working=working)) is None:
        raise EventNeverComes("It never comes round again: its time is over, or there is no such day.")
    return found


def _require_parts(schedule: Schedule) -> None:
    given = {
        name for name in ("cron", "rrule", "every_seconds", "count") if getattr(schedule, name) is not None
    }
    allowed = {
        "one_time": set[str](),
        "recurring": {"cron", "rrule", "count"},
        "interval": {"every_seconds", "count"},
    }[schedule.kind]
    if extra := given - allowed:
        raise ScheduleInvalid(f"An event of kind {schedule.kind} has no {min(extra)}.", field=min(extra))
    if schedule.kind == "recurring" and len(given & {"cron", "rrule"}) != 1:
        raise ScheduleInvalid("A recurring event has either cron or rrule.", field="cron")
    if schedule.kind == "interval":
        seconds = schedule.every_seconds
        if seconds is None or not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
            raise ScheduleInvalid("An interval is from 60 seconds to 366 days.", field="every_seconds")


def _a_cron(line: str) -> str:
    line = " ".join(line.split())
    if not _CRON.fullmatch(line):
        raise ScheduleInvalid("A cron line has five fields, such as `0 10 * * 2`.", field="cron")
    try:
        croniter(line, datetime(2026, 1, 1, tzinfo=UTC))
    except CroniterError as error:
        raise ScheduleInvalid(f"This is no cron line: {error}", field="cron") from None
    return line


def _without_end(schedule: Schedule) -> Schedule:
    """Take COUNT and UNTIL out of a rule: a schedule says them in one way, whatever its kind."""
    assert schedule.rrule is not None
    text = schedule.rrule.strip().upper().removeprefix("RRULE:").rstrip(";")
    parts: dict[str, str] = {}
    for part in text.split(";"):
        match = _RRULE_PART.fullmatch(part)
        if match is None or match[1] in parts:
            raise ScheduleInvalid("This is no rule of RFC 5545, such as FREQ=WEEKLY;BYDAY=TU.", field="rrule")
        parts[match[1]] = match[2]
    count, until = parts.pop("COUNT", None), parts.pop("UNTIL", None)
    if unknown := parts.keys() - _RRULE_KEYS:
        raise ScheduleInvalid(f"{min(unknown)} cannot stand in a rule here.", field="rrule")
    if parts.get("FREQ") not in _FREQUENCIES:
        raise ScheduleInvalid(
            "A rule is daily, weekly, monthly or yearly; use an interval for less.", field="rrule"
        )
    times = len(parts.get("BYHOUR", "0").split(",")) * len(parts.get("BYMINUTE", "0").split(","))
    if times > MOST_TIMES_A_DAY:
        raise ScheduleInvalid(f"{MOST_TIMES_A_DAY} times a day at most; use cron for more.", field="rrule")
    if count is not None:
        if not count.isdigit() or len(count) > 6 or schedule.count is not None:
            raise ScheduleInvalid("COUNT is a number, and is said once.", field="rrule")
        schedule = replace(schedule, count=int(count))
    if until is not None:
        schedule = replace(schedule, ends_at=_until(until, schedule))
    rule = ";".join(f"{key}={value}" for key, value in parts.items())
    try:
        parse_rrule(rule, local_time(schedule.starts_at, schedule.timezone))
    except (ValueError, TypeError) as error:
        raise ScheduleInvalid(f"This is no rule of RFC 5545: {error}", field="rrule") from None
    return replace(schedule, rrule=rule)


def _until(text: str, schedule: Schedule) -> datetime:
    """UNTIL is the last moment that counts; ours is the first that does not."""
    from zoneinfo import ZoneInfo

    for shape, zone, more in (
        ("%Y%m%dT%H%M%SZ", UTC, timedelta(seconds=1)),
        ("%Y%m%dT%H%M%S", ZoneInfo(schedule.timezone), timedelta(seconds=1)),
        ("%Y%m%d", ZoneInfo(schedule.timezone), timedelta(days=1)),
    ):
        try:
            return datetime.strptime(text, shape).replace(tzinfo=zone) + more
        except ValueError:
            continue
    raise ScheduleInvalid("UNTIL is a date or a moment, such as 20261231T210000Z.", field="rrule")
