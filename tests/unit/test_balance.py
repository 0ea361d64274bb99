"""Which replica gets a call: rules that hold whatever comes and goes."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.adapters.models.balance import (
    BUSIER_AT_MOST,
    MOST_TRIED,
    PREFIXES_KEPT,
    Balancer,
    Replica,
    Ticket,
)

LAWYER, HR = b"lawyer", b"hr"


def replicas(*names: str, slots: int = 4) -> list[Replica]:
    return [Replica(name, f"http://{name}/v1", slots) for name in names]


def placed(balancer: Balancer, prefix: bytes = LAWYER) -> Ticket:
    ticket = Ticket(prefix)
    assert balancer.enter(ticket)
    return ticket


def where(ticket: Ticket) -> str | None:
    return ticket.replica.id if ticket.replica else None


def test_calls_of_different_roles_are_spread_over_the_replicas() -> None:
    balancer = Balancer()
    balancer.settle(replicas("a", "b"))

    tickets = [placed(balancer, bytes([number])) for number in range(8)]

    assert sorted(str(where(ticket)) for ticket in tickets) == ["a"] * 4 + ["b"] * 4


def test_a_role_goes_where_its_prompt_was_read_until_that_replica_is_much_busier() -> None:
    balancer = Balancer()
    balancer.settle(replicas("a", "b"))
    first = placed(balancer)
    known = str(where(first))
    balancer.leave(first)

    later = [where(placed(balancer)) for _ in range(BUSIER_AT_MOST + 2)]

    assert later == [known] * (BUSIER_AT_MOST + 1) + [{"a": "b", "b": "a"}[known]]


def test_every_process_sends_a_new_prompt_to_the_same_replica() -> None:
    chosen = set()
    for _ in range(5):
        balancer = Balancer()
        balancer.settle(replicas("a", "b", "c"))
        chosen.add(where(placed(balancer)))

    assert len(chosen) == 1


def test_answers_that_a_replica_writes_for_other_processes_count() -> None:
    balancer = Balancer()
    balancer.settle([Replica("a", "", 4, busy=3), Replica("b", "", 4, busy=0)])

    tickets = [placed(balancer, bytes([number])) for number in range(3)]

    assert {where(ticket) for ticket in tickets} == {"b"}


def test_ones_own_answers_are_not_counted_twice_when_a_replica_speaks_of_them() -> None:
    balancer = Balancer()
    balancer.settle(replicas("a", "b"))
    first = placed(balancer)
    balancer.settle([Replica(name, "", 4, busy=int(name == where(first))) for name in ("a", "b")])
    balancer.leave(first)
    chosen = {where(placed(balancer, HR)), where(placed(balancer, b"x"))}

    assert chosen == {"a", "b"}


def test_a_replica_that_was_away_knows_no_prompts() -> None:
    fresh = Balancer()
    fresh.settle(replicas("a", "b"))
    favourite = str(where(placed(fresh)))
    other = {"a": "b", "b": "a"}[favourite]
    chosen = []
    for is_away in (False, True):
        balancer = Balancer()
        balancer.settle(replicas(other))
        balancer.leave(placed(balancer))
        if is_away:
            balancer.settle([])
        balancer.settle(replicas("a", "b"))
        chosen.append(where(placed(balancer)))

    assert chosen == [other, favourite]


def test_whoever_waits_is_served_in_turn_when_a_replica_comes_or_has_room_again() -> None:
    balancer = Balancer()
    first, second, third = (placed(balancer) for _ in range(3))

    come = balancer.settle(replicas("a", slots=1))
    left = balancer.leave(first)

    assert (come, left, where(third)) == ([first], [second], None)


def test_a_call_that_leaves_the_queue_is_not_placed_any_more() -> None:
    balancer = Balancer()
    first, second = placed(balancer), placed(balancer)
    balancer.leave(first)

    assert balancer.settle(replicas("a", slots=1)) == [second]


def test_too_many_that_wait_are_refused() -> None:
    balancer = Balancer(most_waiting=2)

    assert [balancer.enter(Ticket(HR)) for _ in range(3)] == [True, True, False]


def test_a_call_that_killed_three_replicas_is_not_sent_to_a_fourth() -> None:
    ticket = Ticket(HR, tried={str(number) for number in range(MOST_TRIED - 1)})
    was_exhausted = ticket.is_exhausted
    ticket.tried.add("last")

    assert (was_exhausted, ticket.is_exhausted) == (False, True)


class Life(RuleBasedStateMachine):
    """Calls come, end and move on while replicas come, go and talk."""

    MOST_WAITING = 5

    def __init__(self) -> None:
        super().__init__()
        self.balancer = Balancer(most_waiting=self.MOST_WAITING)
        self.alive: dict[str, Replica] = {}
        self.tickets: list[Ticket] = []

    def _served(self, before: list[Ticket], served: list[Ticket]) -> None:
        """Those that were served are a part of those that waited, in their order, and each has a place."""
        order = [before.index(ticket) for ticket in served]
        assert order == sorted(order)
        assert all(ticket.replica and ticket.replica.id in self.alive for ticket in served)

    def _waiting(self) -> list[Ticket]:
        return [ticket for ticket in self.tickets if ticket.replica is None]

    @rule(prefix=st.integers(0, 200), tried=st.sets(st.sampled_from("abcd"), max_size=2))
    def call(self, prefix: int, tried: set[str]) -> None:
        ticket = Ticket(bytes([prefix]), tried)
        loads = {load.replica.id: load.busy for load in self.balancer._loads.values()}
        if not self.balancer.enter(ticket):
            assert len(self._waiting()) == self.MOST_WAITING
            return
        if ticket.replica is not None:
            # Nobody who could have taken it was idler by more than a known prompt is worth.
            able = [one.id for one in self._with_room() if one.id not in tried]
            assert all(loads[ticket.replica.id] <= loads[other] + BUSIER_AT_MOST for other in able)
        self.tickets.append(ticket)

    @rule(
        names=st.dictionaries(
            st.sampled_from("abcd"), st.tuples(st.integers(1, 3), st.none() | st.integers(0, 9))
        )
    )
    def settle(self, names: dict[str, tuple[int, int | None]]) -> None:
        before = self._waiting()
        self.alive = {name: Replica(name, name, slots, busy) for name, (slots, busy) in names.items()}
        self._served(before, self.balancer.settle(self.alive.values()))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self.tickets.remove(ticket)
        before = self._waiting()
        self._served(before, self.balancer.leave(ticket))

    @precondition(lambda self: any(ticket.replica for ticket in self.tickets))
    @rule(data=st.data())
    def move_on(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([one for one in self.tickets if one.replica]))
        assert ticket.replica is not None
        ticket.tried.add(ticket.replica.id)
        self.tickets.remove(ticket)
        self._served(self._waiting(), self.balancer.leave(ticket))
        if self.balancer.enter(ticket):
            self.tickets.append(ticket)

    def _with_room(self) -> list[Replica]:
        return [load.replica for load in self.balancer._loads.values() if load.mine < load.replica.slots]

    @invariant()
    def nobody_waits_beside_a_replica_with_room(self) -> None:
        assert self.balancer.waiting == len(self._waiting()) <= self.MOST_WAITING
        for ticket in self._waiting():
            assert all(one.id in ticket.tried for one in self._with_room())

    @invariant()
    def nobody_is_sent_where_it_failed(self) -> None:
        assert not any(one.replica and one.replica.id in one.tried for one in self.tickets)

    @invariant()
    def what_is_remembered_is_bounded(self) -> None:
        assert {load.replica.id for load in self.balancer._loads.values()} == set(self.alive)
        assert all(len(load.prefixes) <= PREFIXES_KEPT for load in self.balancer._loads.values())


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
