"""How many workers a pool has: within its bounds, at once when work waits, and without going to and fro."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.core.settings import Settings
from engine.domains.runs import Load
from engine.roles import DEFAULT_POOL, Pool, Resources
from ray_cluster.scaling import (
    CALM_SECONDS,
    GROW_SECONDS,
    LONG_SECONDS,
    Bounds,
    Scale,
    bounds_of,
    load_of,
    next_scale,
)

loads = st.builds(
    Load,
    waiting=st.integers(0, 500),
    running=st.integers(0, 500),
    oldest_seconds=st.floats(0, 60),
)
quick_loads = st.builds(
    Load,
    waiting=st.integers(0, 500),
    running=st.integers(0, 500),
    oldest_seconds=st.floats(0, LONG_SECONDS / 2),
)
bounds = st.tuples(st.integers(0, 5), st.integers(0, 15), st.integers(1, 64)).map(
    lambda numbers: Bounds(numbers[0], max(1, numbers[0] + numbers[1]), numbers[2])
)


def play(scale: Scale, history: list[Load], within: Bounds) -> list[int]:
    """Return the sizes that a pool has, second by second."""
    sizes = []
    for second, load in enumerate(history):
        scale = next_scale(scale, load, within, float(second))
        sizes.append(scale.workers)
    return sizes


@given(st.lists(loads, min_size=1, max_size=200), bounds, st.integers(0, 50))
def test_a_pool_stays_within_its_bounds(history: list[Load], within: Bounds, start: int) -> None:
    assert all(within.fewest <= size <= within.most for size in play(Scale(start), history, within))


@given(quick_loads, bounds, st.integers(0, 20))
def test_under_a_steady_load_a_pool_comes_to_rest_and_has_room(
    load: Load, within: Bounds, start: int
) -> None:
    seconds = int((within.most + 2) * CALM_SECONDS)
    sizes = play(Scale(start), [load] * (seconds + 200), within)

    assert len(set(sizes[seconds:])) == 1
    assert sizes[-1] == within.most or sizes[-1] * within.runs_each >= load.waiting + load.running
    turns = [after - before for before, after in pairwise(sizes) if after != before]
    assert not (any(turn > 0 for turn in turns) and any(turn < 0 for turn in turns))


@given(st.lists(loads, min_size=1, max_size=300), bounds)
def test_a_pool_never_shrinks_soon_after_it_grew_nor_by_more_than_one(
    history: list[Load], within: Bounds
) -> None:
    sizes = play(Scale(within.fewest), history, within)

    grew = float("-inf")
    for second, (before, after) in enumerate(pairwise(sizes), start=1):
        if after > before:
            grew = second
        elif after < before:
            assert before - after == 1
            assert second - grew >= CALM_SECONDS


@given(bounds.filter(lambda within: within.most > within.fewest))
def test_work_that_no_worker_has_room_for_grows_the_pool_at_once(within: Bounds) -> None:
    too_much = Load(waiting=1, running=within.fewest * within.runs_each)

    assert next_scale(Scale(within.fewest), too_much, within, 100.0).workers == within.fewest + 1


def test_work_that_waits_long_grows_the_pool_one_by_one_though_there_is_room() -> None:
    within = Bounds(1, 3, 1024)
    sizes = play(Scale(1), [Load(waiting=1, running=5, oldest_seconds=LONG_SECONDS)] * 40, within)

    assert sizes[0] == 2
    assert sizes[int(GROW_SECONDS) - 1] == 2
    assert sizes[int(GROW_SECONDS)] == 3
    assert sizes[-1] == 3


def test_a_pool_that_nobody_asks_goes_back_to_its_fewest() -> None:
    within = Bounds(0, 4, 1)
    sizes = play(Scale(0), [Load(waiting=3)] * 5 + [Load(running=3)] * 20 + [Load()] * 150, within)

    assert sizes[0] == 3
    assert sizes[24] == 3
    assert sizes[-1] == 0


def some(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[arg-type, call-arg]


def test_the_bounds_of_pools_are_settings_and_every_machine_has_a_worker() -> None:
    default, heavy = Pool(DEFAULT_POOL, (), Resources()), Pool("heavy", ("lawyer",), Resources(concurrency=2))
    settings = some(workers=2, workers_most=5, worker_runs=7, pools="heavy=1-3")

    assert bounds_of(default, settings, machines=1) == Bounds(2, 5, 7)
    assert bounds_of(default, settings, machines=4) == Bounds(4, 5, 7)
    assert bounds_of(default, settings, machines=9) == Bounds(5, 5, 7)
    assert bounds_of(heavy, settings, machines=9) == Bounds(1, 3, 2)
    assert bounds_of(heavy, some(), machines=1) == Bounds(0, 4, 2)


def test_the_default_pool_has_the_load_of_every_role_that_no_other_has() -> None:
    pools = {
        DEFAULT_POOL: Pool(DEFAULT_POOL, ("hr",), Resources()),
        "heavy": Pool("heavy", ("lawyer",), Resources()),
    }
    by_role = {"lawyer": Load(1, 2, 3.0), "hr": Load(4, 5, 6.0), "gone": Load(7, 8, 9.0)}

    assert load_of(pools["heavy"], by_role, pools) == Load(1, 2, 3.0)
    assert load_of(pools[DEFAULT_POOL], by_role, pools) == Load(11, 13, 9.0)
    assert load_of(pools["heavy"], {}, pools) == Load()
