"""A short piece of the chaos bench: whatever is killed or stopped, nothing is lost or doubled."""

from collections import Counter
from random import Random

import pytest
from rich.console import Console

from bench.chaos.__main__ import play, read_arguments, section
from bench.chaos.monkey import ROUND, Monkey, shuffled_round

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
SEED = 11


@pytest.mark.system
async def test_of_what_was_acknowledged_nothing_is_lost_or_doubled() -> None:
    verdict, monkey, crowd, seconds = await play(
        Console(quiet=True), messages=50, per_second=4, seed=SEED, workers=2, seconds=60
    )
    told = section(verdict, monkey, crowd, seconds, SEED)

    assert monkey.done.total() >= 2
    assert (verdict.kept, verdict.answered, verdict.lost, verdict.doubled) == (50, 50, 0, 0), told


def test_every_trouble_comes_in_each_round_in_an_order_that_a_seed_repeats() -> None:
    first, again, other = (shuffled_round(Random(seed)) for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert Counter(first) == Counter(other) == ROUND
    assert all(callable(getattr(Monkey, name)) for name in ROUND)


def test_a_seed_repeats_and_the_long_run_asks_2000_times() -> None:
    asked = read_arguments(["--seed", "7"])

    assert (asked.seed, asked.messages, asked.write) == (7, 2000, False)
