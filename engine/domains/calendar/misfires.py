"""What becomes of occurrences that are due: on time, or missed while nobody looked."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.domains.calendar.models import Occurrence, Plan
from engine.domains.calendar.recurrence import occurrences
from engine.domains.calendar.working_days import WorkingCalendar

MOST_AT_ONCE = 100  # firings of one event in one look; the rest is due at the next
MOST_COUNTED = 1000  # missed ones; of more, it is said that there were this many


@dataclass(frozen=True, slots=True)
class Due:
    """What to do about one event now: `fire` these, with how many missed ones each stands for."""

    fire: list[tuple[Occurrence, int]]
    skipped: tuple[Occurrence, int] | None  # the last of those that were missed and stay so, and how many
    next: Occurrence | None


def what_is_due(plan: Plan, first: Occurrence, *, now: datetime, working: WorkingCalendar) -> Due:
    """Decide by the plan's misfire policy, from the event's next occurrence on; `first` is due."""
    coming = _from(plan, first, working)
    missed_before = now - timedelta(seconds=plan.grace_seconds)
    missed: list[Occurrence] = []
    on_time: list[Occurrence] = []
    following: Occurrence | None = None
    for occurrence in coming:
        if occurrence.at > now:
            following = occurrence
            break
        if len(missed) == MOST_COUNTED:
            # Nobody needs to count a year of minutes: go on with those that are not missed.
            later = occurrences(plan.schedule, after=max(occurrence.at, missed_before), working=working)
            return _decide(plan, missed, *_rest(later, now))
        kind = missed if occurrence.at < missed_before else on_time
        kind.append(occurrence)
        if len(on_time) + (len(missed) if plan.misfire == "run_all" else 0) > MOST_AT_ONCE:
            following = kind.pop()
            break
    return _decide(plan, missed, on_time, following)


def _from(plan: Plan, first: Occurrence, working: WorkingCalendar) -> Iterator[Occurrence]:
    yield first
    yield from occurrences(plan.schedule, after=first.at, working=working)


def _rest(coming: Iterator[Occurrence], now: datetime) -> tuple[list[Occurrence], Occurrence | None]:
    on_time: list[Occurrence] = []
    for occurrence in coming:
        if occurrence.at > now or len(on_time) == MOST_AT_ONCE:
            return on_time, occurrence
        on_time.append(occurrence)
    return on_time, None


def _decide(
    plan: Plan, missed: list[Occurrence], on_time: list[Occurrence], following: Occurrence | None
) -> Due:
    fire = [(occurrence, 0) for occurrence in on_time]
    if not missed:
        return Due(fire, None, following)
    if plan.misfire == "run_all":
        return Due([(occurrence, 0) for occurrence in missed] + fire, None, following)
    if plan.misfire == "skip":
        return Due(fire, (missed[-1], len(missed)), following)
    if fire:
        return Due([(fire[0][0], len(missed)), *fire[1:]], None, following)
    return Due([(missed[-1], len(missed) - 1)], None, following)
