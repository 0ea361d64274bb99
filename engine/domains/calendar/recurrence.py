"""When a schedule comes round: croniter and dateutil draw wall-clock times, this maps them to real ones.

A wall-clock schedule keeps its local hour when clocks are moved. What falls into the hour that is left out
happens right after it; what falls into the hour that is lived twice happens once, the first time. A cron
line with a wildcard for the hour keeps its interval instead: it follows the clock through both hours.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta
from heapq import heappop, heappush
from itertools import count as count_up
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from dateutil.rrule import rrule, rrulestr

from engine.domains.calendar.models import Occurrence, Schedule
from engine.domains.calendar.working_days import WorkingCalendar

MOVED_AT_MOST = timedelta(days=20)  # The longest holidays that a country has, with room to spare.
LOOK_AHEAD = timedelta(hours=26)  # Longer than any change of clocks.
_MOMENT = timedelta(microseconds=1)
YEARS_AHEAD = 30  # A 29th of February that is a Monday comes every 28 years; beyond this nobody looks.


def occurrences(
    schedule: Schedule, *, after: datetime, working: WorkingCalendar | None = None
) -> Iterator[Occurrence]:
    """Give what comes within 30 years after a moment, in the order in which it fires, no two at once.

    `working` tells the working days, where the schedule asks for them; without it its country's are taken.
    """
    if schedule.working_days == "any":
        nominal = _nominals(schedule, after=after)
        return (Occurrence(at, at) for at in nominal)
    return _on_working_days(schedule, after, working or WorkingCalendar(schedule.country))


def next_occurrence(
    schedule: Schedule, *, after: datetime, working: WorkingCalendar | None = None
) -> Occurrence | None:
    """Return the first that comes after a moment, or None."""
    return next(occurrences(schedule, after=after, working=working), None)


def follows_the_clock(schedule: Schedule) -> bool:
    """Whether a schedule keeps its interval over a change of clocks rather than its local hours."""
    return schedule.cron is not None and schedule.cron.split()[1].startswith("*")


def local_time(moment: datetime, timezone: str) -> datetime:
    """Return what the clock on the wall shows, without an offset."""
    return moment.astimezone(ZoneInfo(timezone)).replace(tzinfo=None, fold=0)


def real_times(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return the moments at which a clock on the wall shows this: one, two where it is put back, or none."""
    moments = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(
        moment for moment in moments if moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall
    )


def real_time(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment of a wall-clock time: the first of two, or the end of the gap it falls into."""
    if moments := real_times(wall, zone):
        return moments[0]
    # With fold=0 Python takes the offset from before the gap, with fold=1 the one from after it: the
    # moments lie on both sides of the change.
    early, late = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    before = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)


def _nominals(schedule: Schedule, *, after: datetime) -> Iterator[datetime]:
    """Give the moments after `after`, in their order, none twice, as far as the schedule goes."""
    after = max(after.astimezone(UTC), schedule.starts_at.astimezone(UTC) - _MOMENT)
    if schedule.kind == "one_time":
        moments: Iterator[datetime] = iter([schedule.starts_at.astimezone(UTC)])
    elif schedule.kind == "interval":
        moments = _interval(schedule, after)
    elif schedule.count is not None:
        # They are counted from the first on, however late somebody looks; there are 1,000 at most.
        first = schedule.starts_at.astimezone(UTC) - _MOMENT
        moments = islice(_once_each(_wall_clock(schedule, first), first), schedule.count)
    else:
        moments = _wall_clock(schedule, after)
    if schedule.exdates:  # They are counted all the same, as RFC 5545 has it.
        left_out = _left_out(schedule)
        moments = (moment for moment in moments if moment not in left_out)
    ends_at = schedule.ends_at
    if ends_at is not None:
        moments = takewhile(lambda moment: moment < ends_at, moments)
    return _once_each(moments, after)


def _once_each(moments: Iterable[datetime], after: datetime) -> Iterator[datetime]:
    last = after
    for moment in moments:
        if moment > last:
            last = moment
            yield moment


def _interval(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    assert schedule.every_seconds is not None
    start, step = schedule.starts_at.astimezone(UTC), timedelta(seconds=schedule.every_seconds)
    first = max(0, (after - start) // step)
    numbers = count_up(first) if schedule.count is None else iter(range(first, schedule.count))
    for number in numbers:
        moment = start + number * step
        if moment.year > after.year + YEARS_AHEAD:
            return
        yield moment


def _wall_clock(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    zone = ZoneInfo(schedule.timezone)
    if follows_the_clock(schedule):
        return _through_both_hours(schedule, after, zone)
    since = local_time(after, schedule.timezone)
    return (real_time(wall, zone) for wall in _walls(schedule, since))


def _left_out(schedule: Schedule) -> set[datetime]:
    zone = ZoneInfo(schedule.timezone)
    walls = schedule.exdates
    return {moment for wall in walls for moment in real_times(wall, zone) or [real_time(wall, zone)]}


def _through_both_hours(schedule: Schedule, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    # Clocks that are put back soon show again what they showed a while ago.
    put_back = _offset(after, zone) - _offset(after + LOOK_AHEAD, zone)
    since = local_time(after, schedule.timezone) - max(put_back, timedelta())
    waiting: list[datetime] = []
    for wall in _walls(schedule, since):
        moments = real_times(wall, zone)
        for moment in moments:
            heappush(waiting, moment)
        # Later times on the wall come no earlier than this one comes first.
        while waiting and moments and waiting[0] <= moments[0]:
            yield heappop(waiting)
    while waiting:
        yield heappop(waiting)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _walls(schedule: Schedule, since: datetime) -> Iterator[datetime]:
    """Give the times on the wall that come after one, in their order."""
    if schedule.cron is not None:
        walls = _cron(schedule.cron, since)
    else:
        assert schedule.rrule is not None
        start = local_time(schedule.starts_at, schedule.timezone)
        walls = iter(parse_rrule(schedule.rrule, start).xafter(since, inc=False))
    return takewhile(lambda wall: wall.year <= since.year + YEARS_AHEAD, walls)


def _cron(expression: str, since: datetime) -> Iterator[datetime]:
    drawn = croniter(expression, since, ret_type=datetime, max_years_between_matches=YEARS_AHEAD)
    while True:
        try:
            wall: datetime = drawn.get_next(datetime)
        except CroniterBadDateError:
            return
        yield wall


def parse_rrule(text: str, start: datetime) -> rrule:
    """Return a rule that begins at a time on the wall; raises ValueError for what is none."""
    rule = rrulestr(text, dtstart=start)
    if not isinstance(rule, rrule):
        raise TypeError("one rule, not a set of them")
    return rule


# ── working days ──


def _on_working_days(schedule: Schedule, after: datetime, working: WorkingCalendar) -> Iterator[Occurrence]:
    """Give what is left when each occurrence is left out or moved to a working day of its country.

    Several that are moved to the same moment are one.
    """
    last = after
    for at, nominal in _in_order(schedule, after, working):
        if at > last:
            last = at
            yield Occurrence(nominal, at)


def _in_order(
    schedule: Schedule, after: datetime, working: WorkingCalendar
) -> Iterator[tuple[datetime, datetime]]:
    if schedule.working_days == "skip":
        for nominal in _skipping(schedule, after, working):
            yield nominal, nominal
        return
    # What comes later may be moved to before what came earlier, but not by more than this.
    reach = MOVED_AT_MOST if schedule.working_days == "previous" else timedelta()
    waiting: list[tuple[datetime, datetime]] = []
    for nominal in _nominals(schedule, after=after - MOVED_AT_MOST):
        moved = _moved(schedule, nominal, working)
        if moved is not None:
            heappush(waiting, (moved, nominal))
        while waiting and waiting[0][0] <= nominal - reach:
            yield heappop(waiting)
    while waiting:
        yield heappop(waiting)


def _skipping(schedule: Schedule, after: datetime, working: WorkingCalendar) -> Iterator[datetime]:
    zone = ZoneInfo(schedule.timezone)
    until = after.year + YEARS_AHEAD
    while after.year <= until:
        for nominal in _nominals(schedule, after=after):
            day = local_time(nominal, schedule.timezone).date()
            if working.is_working(day):
                yield nominal
            elif schedule.count is None:
                # The rest of the day is not looked at, however much of it there is.
                after = real_time(datetime.combine(day + timedelta(days=1), time()), zone) - _MOMENT
                break
        else:
            return


def _moved(schedule: Schedule, nominal: datetime, working: WorkingCalendar) -> datetime | None:
    wall = local_time(nominal, schedule.timezone)
    day = wall.date()
    if working.is_working(day):
        return nominal
    step = timedelta(days=1 if schedule.working_days == "next" else -1)
    for _ in range(MOVED_AT_MOST.days):
        day += step
        if working.is_working(day):
            return real_time(datetime.combine(day, wall.time()), ZoneInfo(schedule.timezone))
    return None
