"""When events come round, over every change of clocks that the world knows."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domains.calendar.models import Schedule
from engine.domains.calendar.recurrence import local_time, next_occurrence, occurrences, real_time, real_times
from engine.domains.calendar.working_days import WorkingCalendar

ZONES = sorted(available_timezones() - {"Factory", "localtime"})
SINCE, UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def cron(line: str, zone: str, since: str = "2026-01-01T00:00+00:00", **more: object) -> Schedule:
    return Schedule("recurring", moment(since), zone, cron=line, **more)  # type: ignore[arg-type]


def rrule(rule: str, zone: str, since: str, **more: object) -> Schedule:
    return Schedule("recurring", moment(since), zone, rrule=rule, **more)  # type: ignore[arg-type]


def fires(schedule: Schedule, after: str, most: int = 5, **more: WorkingCalendar) -> list[str]:
    """The next times on the wall, with their offsets."""
    zone = ZoneInfo(schedule.timezone)
    found = islice(occurrences(schedule, after=moment(after), **more), most)
    return [f"{one.at.astimezone(zone):%m-%d %H:%M%z}" for one in found]


def changes(zone: ZoneInfo) -> Iterator[datetime]:
    """The first minute after each change of a zone's clocks in ten years."""
    step, at = timedelta(days=1), SINCE
    while at < UNTIL:
        after = at + step
        if at.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            early, late = at, after
            while late - early > timedelta(minutes=1):
                middle = early + (late - early) / 2
                middle = middle.replace(second=0, microsecond=0)
                if middle.astimezone(zone).utcoffset() == at.astimezone(zone).utcoffset():
                    early = middle
                else:
                    late = middle
            yield late
        at = after


# ── fixed hours ──


def test_a_daily_job_keeps_its_local_hour_over_both_changes() -> None:
    nine = cron("0 9 * * *", "Europe/Berlin")

    assert fires(nine, "2026-03-27T12:00+00:00", 3) == [
        "03-28 09:00+0100",
        "03-29 09:00+0200",
        "03-30 09:00+0200",
    ]
    assert fires(nine, "2026-10-23T12:00+00:00", 3) == [
        "10-24 09:00+0200",
        "10-25 09:00+0100",
        "10-26 09:00+0100",
    ]


def test_what_falls_into_the_gap_happens_right_after_it() -> None:
    assert fires(cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00+00:00", 2) == [
        "03-29 03:00+0200",
        "03-30 02:30+0200",
    ]
    assert fires(cron("15,45 2 * * *", "Europe/Berlin"), "2026-03-28T12:00+00:00", 2) == [
        "03-29 03:00+0200",
        "03-30 02:15+0200",
    ]
    assert fires(cron("15 2 4 10 *", "Australia/Lord_Howe"), "2026-01-01T00:00+00:00", 1) == [
        "10-04 02:30+1100"
    ]


def test_what_falls_into_the_repeated_hour_happens_once() -> None:
    for zone, line, after in (
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00+00:00"),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00+00:00"),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00+00:00"),
    ):
        days = [one[:5] for one in fires(cron(line, zone), after, 3)]
        assert len(set(days)) == 3, zone


def test_asked_within_the_repeated_hour_the_next_is_tomorrow() -> None:
    second = moment("2026-10-25T01:10+00:00")  # 02:10 in Berlin, for the second time

    assert fires(cron("30 2 * * *", "Europe/Berlin"), second.isoformat(), 1) == ["10-26 02:30+0100"]


@pytest.mark.parametrize("share", range(8))
def test_in_every_zone_a_fixed_hour_comes_once_a_day_and_never_before_its_time(share: int) -> None:
    """Around every change of ten years, at every half hour of the day."""
    lines = [f"{minute} {hour} * * *" for hour in range(24) for minute in (0, 30)]
    for name in ZONES[share::8]:
        zone = ZoneInfo(name)
        for change in changes(zone):
            near = {
                change.astimezone(zone).replace(tzinfo=None),
                (change - timedelta(hours=1)).astimezone(zone),
            }
            hours = {wall.hour + shift for wall in near for shift in (-1, 0, 1)}
            for line in lines:
                minute, hour = map(int, line.split()[:2])
                if hour not in {each % 24 for each in hours}:
                    continue
                after = change - timedelta(days=2)
                found = [
                    one.at
                    for one in takewhile(
                        lambda one: one.at < change + timedelta(days=2),  # noqa: B023 - used at once
                        occurrences(cron(line, name, SINCE.isoformat()), after=after),
                    )
                ]
                days = [_asked_for(at, hour, minute, zone) for at in found]
                assert len(days) == len(set(days)), (name, line, change)
                first = (after.astimezone(zone) + timedelta(days=1)).date()
                last = (change + timedelta(days=1)).astimezone(zone).date()
                lived = {
                    day
                    for day in (first + timedelta(days=number) for number in range((last - first).days + 1))
                    if _is_lived(day, zone)
                }
                assert lived <= set(days), (name, line, change)


def _asked_for(at: datetime, hour: int, minute: int, zone: ZoneInfo) -> date:
    """The day whose hour this is: it is on time, or, where that time does not exist, right after the gap."""
    wall = local_time(at, zone.key)
    if (wall.hour, wall.minute) == (hour, minute):
        return wall.date()
    before = local_time(at - timedelta(minutes=1), zone.key)
    (day,) = {
        day
        for day in (before.date(), wall.date())
        if before < datetime.combine(day, time(hour, minute)) < wall
    }
    return day


def _is_lived(day: date, zone: ZoneInfo) -> bool:
    """Whether a zone has this day at all: Samoa left one out."""
    return bool(real_times(datetime.combine(day, time(12)), zone))


# ── wildcard hours and intervals ──


@pytest.mark.parametrize("line", ["*/15 * * * *", "0 * * * *", "7 * * * *"])
def test_wildcard_hours_keep_their_interval_over_every_change(line: str) -> None:
    step = timedelta(minutes=15) if line.startswith("*/15") else timedelta(hours=1)
    for name in ("Europe/Berlin", "America/New_York", "Asia/Tehran", "America/Santiago", "Europe/Moscow"):
        for change in changes(ZoneInfo(name)):
            after = change - timedelta(hours=5)
            found = [
                one.at for one in islice(occurrences(cron(line, name, SINCE.isoformat()), after=after), 40)
            ]

            assert {late - early for early, late in pairwise(found)} == {step}, (
                name,
                change,
            )


@given(
    st.sampled_from(ZONES),
    st.datetimes(moment("2020-01-01"), moment("2029-12-01"), timezones=st.just(UTC)),
    st.sampled_from(["*/20 * * * *", "0 */3 * * *", "5 * * * 1-5"]),
)
def test_wildcard_hours_come_whenever_the_clock_shows_them(name: str, after: datetime, line: str) -> None:
    zone, until = ZoneInfo(name), after + timedelta(days=2)
    found = [
        one.at
        for one in takewhile(
            lambda one: one.at <= until, occurrences(cron(line, name, SINCE.isoformat()), after=after)
        )
    ]
    first = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    minutes = (first + timedelta(minutes=number) for number in range(2 * 24 * 60 + 1))

    assert found == [at for at in minutes if at <= until and _shows(at.astimezone(zone), line)]


def _shows(wall: datetime, line: str) -> bool:
    return {
        "*/20 * * * *": wall.minute % 20 == 0,
        "0 */3 * * *": wall.minute == 0 and wall.hour % 3 == 0,
        "5 * * * 1-5": wall.minute == 5 and wall.weekday() < 5,
    }[line]


def test_an_interval_is_real_time_whatever_clocks_do() -> None:
    every = Schedule("interval", moment("2026-03-28T20:00+01:00"), "Europe/Berlin", every_seconds=6 * 3600)

    assert fires(every, "2026-03-28T22:00+00:00", 3) == [
        "03-29 03:00+0200",
        "03-29 09:00+0200",
        "03-29 15:00+0200",
    ]


# ── rules, counts, ends ──


def test_a_rule_keeps_the_hour_of_its_start_and_leaves_out_what_is_left_out() -> None:
    tuesdays = rrule(
        "FREQ=WEEKLY;BYDAY=TU",
        "Europe/Moscow",
        "2026-11-24T10:00+03:00",
        exdates=(moment("2026-12-08T10:00"),),
    )

    assert fires(tuesdays, "2026-11-23T00:00+00:00", 3) == [
        "11-24 10:00+0300",
        "12-01 10:00+0300",
        "12-15 10:00+0300",
    ]


@pytest.mark.parametrize(
    "schedule",
    [
        cron("0 9 * * *", "Europe/Moscow", "2026-11-24T06:00+00:00", count=3),
        rrule("FREQ=DAILY", "Europe/Moscow", "2026-11-24T09:00+03:00", count=3),
        Schedule("interval", moment("2026-11-24T06:00+00:00"), "Europe/Moscow", every_seconds=86400, count=3),
    ],
)
def test_a_count_is_counted_from_the_start_however_late_one_asks(schedule: Schedule) -> None:
    assert len(fires(schedule, "2020-01-01T00:00+00:00", 9)) == 3
    assert fires(schedule, "2026-11-25T06:00+00:00", 9) == ["11-26 09:00+0300"]
    assert next_occurrence(schedule, after=moment("2026-11-26T06:00+00:00")) is None


def test_nothing_comes_before_the_start_or_from_the_end_on() -> None:
    daily = cron("0 9 * * *", "UTC", "2026-11-24T09:00+00:00", ends_at=moment("2026-11-26T09:00+00:00"))

    assert fires(daily, "2000-01-01T00:00+00:00", 9) == ["11-24 09:00+0000", "11-25 09:00+0000"]


# ── working days ──


def test_pay_day_moves_with_the_days_that_the_state_moves() -> None:
    """10 January 2026 is a Saturday after holidays that end with a moved Friday."""
    russia = WorkingCalendar("RU")
    day = "2025-12-20T00:00+00:00"

    def tenth(way: str) -> list[str]:
        return fires(cron("0 9 10 * *", "Europe/Moscow", day, working_days=way), day, 2, working=russia)

    assert tenth("previous") == ["12-30 09:00+0300", "02-10 09:00+0300"]
    assert tenth("next") == ["01-12 09:00+0300", "02-10 09:00+0300"]
    assert tenth("skip")[0] == "02-10 09:00+0300"


def test_a_worked_saturday_is_worked_and_an_organization_may_say_otherwise() -> None:
    saturday = date(2025, 11, 1)

    assert WorkingCalendar("RU").is_working(saturday)
    assert not WorkingCalendar("RU").is_working(date(2025, 11, 3))
    assert not WorkingCalendar("RU", {saturday: False}).is_working(saturday)


def test_days_that_move_to_one_day_are_one() -> None:
    daily = cron("0 9 * * *", "Europe/Moscow", "2026-01-01T00:00+00:00", working_days="next")

    # From Friday to Tuesday; Saturday and Sunday are moved to Monday, where there is one already.
    assert fires(daily, "2026-11-26T20:00+00:00", 3, working=WorkingCalendar("RU")) == [
        "11-27 09:00+0300",
        "11-30 09:00+0300",
        "12-01 09:00+0300",
    ]


@given(
    st.sampled_from(["0 9 * * *", "0 9,18 * * 6", "30 12 1,15 * *", "0 0 31 12 *"]),
    st.sampled_from(["next", "previous", "skip"]),
    st.datetimes(moment("2024-01-01"), moment("2027-06-01"), timezones=st.just(UTC)),
)
def test_moved_ones_come_in_order_on_working_days_and_asking_again_goes_on(
    line: str, way: str, after: datetime
) -> None:
    russia = WorkingCalendar("RU")
    schedule = cron(line, "Europe/Moscow", "2023-01-01T00:00+00:00", working_days=way)
    found = list(islice(occurrences(schedule, after=after, working=russia), 12))

    assert all(russia.is_working(local_time(one.at, "Europe/Moscow").date()) for one in found)
    assert all(early.at < late.at for early, late in pairwise(found))
    for early, late in pairwise(found):
        assert next_occurrence(schedule, after=early.at, working=russia) == late


@given(st.sampled_from(ZONES), st.datetimes(moment("2020-01-01"), moment("2029-12-30")))
def test_every_time_on_the_wall_has_one_moment(name: str, wall: datetime) -> None:
    zone = ZoneInfo(name)
    wall = wall.replace(second=0, microsecond=0)
    at = real_time(wall, zone)

    if moments := real_times(wall, zone):
        assert at == moments[0]
    else:
        assert local_time(at, name) > wall > local_time(at - timedelta(seconds=1), name)
