"""Who is told what by which channel and when: the rules, with whatever channels and clocks there may be."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domains.notifications import KINDS, Channel
from engine.domains.notifications.orchestration import (
    BURST,
    BURST_SECONDS,
    Step,
    gathers_until,
    next_step,
    quiet_until,
)
from engine.domains.notifications.retries import LONGEST_SECONDS, MOST_ATTEMPTS, is_over, pause_seconds

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ZONES = ["Europe/Moscow", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]


def channel(**more: object) -> Channel:
    made = Channel(
        id=uuid4(),
        user_id=uuid4(),
        kind="email",
        is_own=False,
        address="ann@example.com",
        priority=50,
        patience_seconds=600,
        quiet_from=None,
        quiet_until=None,
        timezone="Europe/Moscow",
        carries=list(KINDS),
        verified_at=NOON,
        broken_at=None,
        broken_code=None,
        code_expires_at=None,
        created_at=NOON,
    )
    return replace(made, **more)  # type: ignore[arg-type]


hours = st.times().map(lambda moment: moment.replace(second=0, microsecond=0))
quiet = st.one_of(st.just((None, None)), st.tuples(hours, hours))
channels = st.lists(
    st.builds(
        lambda hours, **more: channel(quiet_from=hours[0], quiet_until=hours[1], **more),
        hours=quiet,
        kind=st.sampled_from(["in_app", "email", "telegram", "webhook"]),
        priority=st.integers(0, 100),
        patience_seconds=st.sampled_from([0, 1, 60, 600, 86400]),
        timezone=st.sampled_from(ZONES),
        carries=st.lists(st.sampled_from(KINDS), unique=True),
        verified_at=st.sampled_from([None, NOON]),
        broken_at=st.sampled_from([None, None, NOON]),
    ),
    max_size=6,
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def walk(theirs: list[Channel], began: datetime) -> list[tuple[datetime, Step]]:
    """Live through a notification that nobody reads."""
    steps: list[tuple[datetime, Step]] = []
    now, told = began, None
    while True:
        step = next_step(theirs, kind="mention", told=told, now=now)
        steps.append((now, step))
        if step.next_at is None:
            return steps
        assert len(steps) < 100, "it never ends"
        now, told = step.next_at, step.told


@given(channels, moments)
def test_an_unread_one_goes_down_the_priorities_and_to_every_channel_once_at_most(
    theirs: list[Channel], began: datetime
) -> None:
    steps = walk(theirs, began)

    told = [each for _, step in steps for each in step.channels]
    priorities = [step.channels[0].priority for _, step in steps if step.channels]
    assert len({each.id for each in told}) == len(told)
    assert priorities == sorted(set(priorities), reverse=True)
    for now, step in steps:
        assert all(each.priority == step.told for each in step.channels)
        assert step.next_at is None or step.next_at >= now
        for each in step.channels:
            assert each.verified_at
            assert not each.broken_at
            assert "mention" in each.carries
            assert quiet_until(each, now) is None


@given(channels, moments)
def test_somebody_with_a_channel_that_works_is_told_within_a_day_or_two(
    theirs: list[Channel], began: datetime
) -> None:
    works = [each for each in theirs if each.verified_at and not each.broken_at and "mention" in each.carries]

    first = next(((now, step) for now, step in walk(theirs, began) if step.channels), None)

    assert (first is not None) == bool(works)
    if first:
        assert first[0] - began <= timedelta(hours=25)


@given(channels, moments)
def test_the_last_channel_is_told_by_the_time_that_all_before_it_had_their_patience(
    theirs: list[Channel], began: datetime
) -> None:
    awake = [replace(each, quiet_from=None, quiet_until=None) for each in theirs]
    works = [each for each in awake if each.verified_at and not each.broken_at and "mention" in each.carries]

    steps = walk(awake, began)

    assert {each.id for _, step in steps for each in step.channels} == {each.id for each in works}
    assert steps[-1][0] - began <= timedelta(seconds=sum(each.patience_seconds for each in works))


def test_channels_of_one_priority_are_told_together_and_the_next_ones_after_the_patience() -> None:
    high, twin = channel(priority=90, patience_seconds=60), channel(priority=90, patience_seconds=300)
    low = channel(priority=10)

    first = next_step([low, high, twin], kind="draft", told=None, now=NOON)
    second = next_step([low, high, twin], kind="draft", told=first.told, now=NOON)

    assert first.channels == (high, twin)
    assert first.next_at == NOON + timedelta(seconds=60)
    assert (second.channels, second.next_at) == ((low,), None)


def test_a_quiet_channel_is_passed_over_and_all_quiet_ones_are_waited_for() -> None:
    night = {"quiet_from": time(22), "quiet_until": time(8)}
    telegram = channel(priority=90, **night)
    email = channel(priority=50)
    midnight = datetime(2026, 11, 27, 0, 30, tzinfo=ZoneInfo("Europe/Moscow"))

    passed_over = next_step([telegram, email], kind="draft", told=None, now=midnight)
    waited_for = next_step([telegram], kind="draft", told=None, now=midnight)

    assert passed_over.channels == (email,)
    assert (waited_for.channels, waited_for.told) == ((), None)
    assert waited_for.next_at == midnight.replace(hour=8, minute=0)


@pytest.mark.parametrize(
    ("hours", "at", "wakes"),
    [
        ((time(22), time(8)), "2026-11-27T21:59", None),
        ((time(22), time(8)), "2026-11-27T22:00", "2026-11-28T08:00"),
        ((time(22), time(8)), "2026-11-28T07:59", "2026-11-28T08:00"),
        ((time(13), time(14)), "2026-11-27T13:30", "2026-11-27T14:00"),
        ((time(9), time(9)), "2026-11-27T09:00", None),
        ((time(1), time(3)), "2026-03-29T01:30", "2026-03-29T03:00"),  # 02:00 to 03:00 is not there
    ],
)
def test_quiet_hours_are_those_of_the_wall_clock(
    hours: tuple[time, time], at: str, wakes: str | None
) -> None:
    zone = ZoneInfo("Europe/Berlin")
    one = channel(quiet_from=hours[0], quiet_until=hours[1], timezone="Europe/Berlin")

    found = quiet_until(one, datetime.fromisoformat(at).replace(tzinfo=zone).astimezone(UTC))

    expected = datetime.fromisoformat(wakes).replace(tzinfo=zone) if wakes else None
    assert found == (expected.astimezone(UTC) if expected else None)


def test_a_burst_is_gathered_and_quiet_ends_it() -> None:
    sent: list[datetime] = []
    alone, gathered = 0, 0
    for second in range(20):
        now = NOON + timedelta(seconds=second)
        if gathers_until(sent, now) is None:
            sent.append(now)
            alone += 1
        else:
            gathered += 1
            assert gathers_until(sent, now) == now + timedelta(seconds=BURST_SECONDS)

    assert (alone, gathered) == (BURST, 20 - BURST)
    assert gathers_until(sent, NOON + timedelta(seconds=BURST_SECONDS + 30)) is None


@given(st.integers(1, 40), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 5000)))
def test_pauses_grow_keep_their_bounds_and_heed_the_provider(
    attempts: int, chance: float, wished: float | None
) -> None:
    pause = pause_seconds(attempts, chance=chance, wished=wished)

    assert 2.5 <= pause <= max(LONGEST_SECONDS, wished or 0)
    assert pause >= (wished or 0)
    assert pause_seconds(attempts + 1, chance=chance) >= pause_seconds(attempts, chance=chance)


def test_what_fails_is_given_up_after_hours_and_what_may_have_arrived_much_sooner() -> None:
    failing = [pause_seconds(number, chance=0.5) for number in range(1, MOST_ATTEMPTS)]

    assert 3600 < sum(failing) < 4 * 3600
    assert not is_over(MOST_ATTEMPTS - 1, 0)
    assert is_over(MOST_ATTEMPTS, 0)
    assert not is_over(2, 2)
    assert is_over(3, 3)
