"""Guessing passwords is slow, and nobody can lock an owner out."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domains.sessions import Throttle, TooManyAttempts
from engine.domains.sessions.throttle import MOST_FROM_ADDRESS, SLOWEST, network_of


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


ADDRESSES = st.sampled_from([f"203.0.113.{n}" for n in range(1, 6)])
ACCOUNTS = st.sampled_from(["ann", "bob", "nobody"])
HISTORY = st.lists(
    st.tuples(ACCOUNTS, ADDRESSES, st.booleans(), st.floats(min_value=0, max_value=120)), max_size=200
)


def live(throttle: Throttle, clock: Clock, history: list[tuple[str, str, bool, float]]) -> None:
    for account, address, is_right, seconds in history:
        clock.now += seconds
        try:
            throttle.attempt(account=account, address=address)
        except TooManyAttempts:
            continue
        if is_right:
            throttle.forgive(account=account, address=address)


@given(HISTORY)
def test_an_owner_at_a_fresh_address_is_let_in_within_the_slowest_wait(
    history: list[tuple[str, str, bool, float]],
) -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    live(throttle, clock, history)

    wait = throttle.attempt(account="ann", address="198.51.100.1")

    assert 0 <= wait <= SLOWEST


@given(HISTORY)
def test_whoever_is_turned_away_is_let_in_when_told(history: list[tuple[str, str, bool, float]]) -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    live(throttle, clock, [(account, "203.0.113.1", False, 0.0) for account, *_ in history])
    try:
        throttle.attempt(account="ann", address="203.0.113.1")
    except TooManyAttempts as refusal:
        clock.now += refusal.retry_after_seconds

    wait = throttle.attempt(account="ann", address="203.0.113.1")

    assert wait <= SLOWEST


@given(st.integers(min_value=0, max_value=MOST_FROM_ADDRESS - 1))
def test_each_failure_makes_the_next_wait_no_shorter(failures: int) -> None:
    throttle = Throttle(clock=Clock())

    waits = [throttle.attempt(account="ann", address="203.0.113.1") for _ in range(failures)]

    assert waits == sorted(waits)
    assert all(wait == 0 for wait in waits[:3])


@given(HISTORY)
def test_a_day_later_everything_is_forgotten(history: list[tuple[str, str, bool, float]]) -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    live(throttle, clock, history)
    clock.now += 86_400

    assert throttle.attempt(account="ann", address="203.0.113.1") == 0


@given(st.lists(st.tuples(st.text(max_size=5), st.ip_addresses().map(str)), max_size=100))
def test_memory_is_bounded_whoever_tries(attempts: list[tuple[str, str]]) -> None:
    throttle = Throttle(clock=Clock(), capacity=10)

    live(throttle, Clock(), [(account, address, False, 0.0) for account, address in attempts])

    assert throttle.size() <= 30


def test_an_address_that_goes_on_and_on_is_turned_away_even_if_it_owns_an_account() -> None:
    throttle = Throttle(clock=Clock())

    for number in range(MOST_FROM_ADDRESS):
        throttle.attempt(account=f"victim {number}", address="203.0.113.1")
        if number < MOST_FROM_ADDRESS - 1:
            throttle.attempt(account="mine", address="203.0.113.1")
            throttle.forgive(account="mine", address="203.0.113.1")

    with pytest.raises(TooManyAttempts) as refusal:
        throttle.attempt(account="mine", address="203.0.113.1")

    assert 1 <= refusal.value.retry_after_seconds <= 600


def test_attempts_at_once_gain_nothing() -> None:
    throttle = Throttle(clock=Clock())

    waits = [throttle.attempt(account="ann", address=f"203.0.113.{n}") for n in range(40)]

    assert waits[-1] == SLOWEST


def test_the_right_password_costs_nothing_however_often() -> None:
    throttle = Throttle(clock=Clock())

    for _ in range(500):
        assert throttle.attempt(account="ann", address="203.0.113.1") == 0
        throttle.forgive(account="ann", address="203.0.113.1")

    assert throttle.size() == 0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.1", "203.0.113.1", True),
        ("203.0.113.1", "203.0.113.2", False),
        ("testclient", "testclient", True),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one: str, other: str, is_same: bool) -> None:
    assert (network_of(one) == network_of(other)) is is_same
