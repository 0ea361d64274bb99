"""What calendar programs are shown of events whose times are written one by one."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from icalendar import Calendar

from engine.domains.calendar import ics
from engine.domains.calendar.models import CalendarEvent, Plan, Schedule
from engine.domains.calendar.working_days import WorkingCalendar

NOW = datetime(2026, 11, 28, 12, 3, tzinfo=UTC)
BEGAN = NOW.replace(minute=0) - timedelta(days=90)


def event(schedule: Schedule) -> CalendarEvent:
    return CalendarEvent(
        id=uuid4(),
        owner_id=uuid4(),
        plan=Plan("Обход", schedule),
        status="active",
        paused_because=None,
        failures=0,
        next=None,
        version=1,
        uid="1@rugpt",
        created_at=BEGAN,
        updated_at=BEGAN,
    )


def interval(minutes: int) -> Schedule:
    return Schedule("interval", BEGAN, "Europe/Moscow", every_seconds=minutes * 60)


def cron(line: str) -> Schedule:
    return Schedule("recurring", BEGAN, "Europe/Moscow", cron=line)


def written(schedule: Schedule) -> list[datetime]:
    file = ics.write([(event(schedule), WorkingCalendar("RU"))], now=NOW)
    entries: list[Any] = Calendar.from_ical(file).walk("VEVENT")
    return [entry["dtstart"].dt.astimezone(UTC) for entry in entries]


@pytest.mark.parametrize(
    ("schedule", "step", "past"),
    [
        (interval(24 * 60), timedelta(days=1), timedelta(days=31)),
        (interval(12 * 60), timedelta(hours=12), timedelta(days=31)),
        (cron("0 * * * *"), timedelta(hours=1), timedelta(days=1)),
        (interval(15), timedelta(minutes=15), timedelta(days=1)),
        (cron("* * * * *"), timedelta(minutes=1), timedelta(hours=1)),
    ],
)
def test_however_often_an_event_comes_most_of_what_is_shown_is_to_come(
    schedule: Schedule, step: timedelta, past: timedelta
) -> None:
    times = written(schedule)

    to_come = [at for at in times if at > NOW]
    assert len(to_come) >= 300
    assert NOW - past < times[0] <= NOW - past + step
    assert times == [times[0] + number * step for number in range(len(times))], "without a gap at this moment"


def test_a_daily_event_is_shown_for_a_whole_year() -> None:
    assert NOW + timedelta(days=364) < written(cron("0 9 * * *"))[-1] < NOW + timedelta(days=366)
