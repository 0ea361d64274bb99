"""Which replica of a model gets the next call: rules alone, without a network and without a clock."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

# A replica that has read a role's prompt before saves seconds; one that is so much busier loses them again.
BUSIER_AT_MOST = 2
MOST_WAITING = 512
PREFIXES_KEPT = 64
# A prompt that kills whoever reads it must not go through the whole cluster.
MOST_TRIED = 3


@dataclass(frozen=True, slots=True)
class Replica:
    """One living copy of a model; a copy that was started anew is another one.

    `busy` counts the answers it writes, for whomever; None when it does not say.
    """

    id: str
    url: str
    slots: int
    busy: int | None = None


@dataclass(eq=False, slots=True)
class Ticket:
    """One call that wants a replica: what its prompt begins with, where it was, and where it is now."""

    prefix: bytes
    tried: set[str] = field(default_factory=set)
    replica: Replica | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether it has failed in so many places that the reason is probably its own."""
        return len(self.tried) >= MOST_TRIED


@dataclass(slots=True)
class _Load:
    """What is known of one replica here."""

    replica: Replica
    mine: int = 0
    of_others: int = 0  # answers it writes for other processes, when it last spoke
    prefixes: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    @property
    def busy(self) -> int:
        return self.mine + self.of_others

    def remember(self, prefix: bytes) -> None:
        self.prefixes[prefix] = None
        self.prefixes.move_to_end(prefix)
        if len(self.prefixes) > PREFIXES_KEPT:
            self.prefixes.popitem(last=False)


class Balancer:
    """Places calls: where their prompt is known, else where the least is going on, else in a queue."""

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._loads: dict[str, _Load] = {}
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many calls wait for a replica."""
        return len(self._waiting)

    def replicas(self) -> list[Replica]:
        """Return the replicas that may be asked now."""
        return [load.replica for load in self._loads.values()]

    def settle(self, replicas: Iterable[Replica]) -> list[Ticket]:
        """Take note of who is there now; return the waiting calls that were placed by it."""
        loads: dict[str, _Load] = {}
        for replica in replicas:
            load = self._loads.get(replica.id) or _Load(replica)
            load.replica = replica
            if replica.busy is not None:
                load.of_others = max(0, replica.busy - load.mine)
            loads[replica.id] = load
        self._loads = loads
        return self._place_waiting()

    def enter(self, ticket: Ticket) -> bool:
        """Place a call, or let it wait; False when too many wait already."""
        if self._place(ticket):
            return True
        if len(self._waiting) >= self._most_waiting:
            return False
        self._waiting[ticket] = None
        return True

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """Let a call go, whether it waits or was placed; return the waiting calls that were placed by it."""
        self._waiting.pop(ticket, None)
        replica, ticket.replica = ticket.replica, None
        if replica is not None and (load := self._loads.get(replica.id)) is not None:
            load.mine = max(0, load.mine - 1)
        return self._place_waiting()

    def _place_waiting(self) -> list[Ticket]:
        placed = []
        for ticket in list(self._waiting):
            if self._place(ticket):
                del self._waiting[ticket]
                placed.append(ticket)
            elif not any(load.mine < load.replica.slots for load in self._loads.values()):
                break
        return placed

    def _place(self, ticket: Ticket) -> bool:
        load = self._choose(ticket)
        if load is None:
            return False
        load.mine += 1
        load.remember(ticket.prefix)
        ticket.replica = load.replica
        return True

    def _choose(self, ticket: Ticket) -> _Load | None:
        free = [
            load
            for load in self._loads.values()
            if load.mine < load.replica.slots and load.replica.id not in ticket.tried
        ]
        if not free:
            return None
        least = min(load.busy for load in free)
        knowing = [
            load for load in free if ticket.prefix in load.prefixes and load.busy <= least + BUSIER_AT_MOST
        ]
        candidates = knowing or [load for load in free if load.busy == least]
        # Among equals every process prefers the same one for the same prompt, without asking the others.
        return min(candidates, key=lambda load: (load.busy, _rank(ticket.prefix, load.replica.id)))


def _rank(prefix: bytes, replica_id: str) -> bytes:
    return blake2b(prefix + replica_id.encode(), digest_size=8).digest()
