"""How hard guessing passwords is made: slower for an account, and at last impossible from one address.

Nobody can lock an owner out of their account from elsewhere: an account's own past costs them at most
SLOWEST seconds; only the address that keeps failing is turned away.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address
from time import monotonic

from engine.domains.sessions.errors import TooManyAttempts

SLOWEST = 4.0
MOST_FROM_ADDRESS = 50  # failures; then it is turned away until they fade
_HALF_LIFE = 300.0  # seconds in which a failure comes to count half
_FREE = {"pair": 3, "account": 10, "address": 15}  # failures that cost nothing
_FIRST_DELAY = 0.25


class Throttle:
    """Counts failed sign-ins per account, per address and per pair of them, in bounded memory.

    Every attempt counts as failed from its start, so that trying in parallel gains nothing; `forgive`
    takes that back once the password was right.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic, capacity: int = 20_000) -> None:
        self._pairs = _Scores(clock, capacity)
        self._accounts = _Scores(clock, capacity)
        self._addresses = _Scores(clock, capacity)

    def attempt(self, *, account: str, address: str) -> float:
        """Count an attempt and return for how many seconds to keep it waiting, or raise TooManyAttempts."""
        network = network_of(address)
        from_address = self._addresses.of(network)
        if from_address >= MOST_FROM_ADDRESS:
            # Not counted: whoever keeps hammering is let in again at the promised time.
            raise TooManyAttempts(_seconds_to_fade(from_address))
        return max(
            _delay(self._pairs.add((account, network)) - _FREE["pair"]),
            _delay(self._accounts.add(account) - _FREE["account"]),
            _delay(self._addresses.add(network) - _FREE["address"]),
        )

    def forgive(self, *, account: str, address: str) -> None:
        """Take the last attempt back: the password was right.

        What others tried stays: an attacker who owns an account must not wipe their slate by using it.
        """
        network = network_of(address)
        self._pairs.forget((account, network))
        self._accounts.take_back(account)
        self._addresses.take_back(network)

    def size(self) -> int:
        """Return how many counters are kept."""
        return len(self._pairs) + len(self._accounts) + len(self._addresses)


class _Scores:
    """Numbers that fade, for the keys that were used last."""

    def __init__(self, clock: Callable[[], float], capacity: int) -> None:
        self._clock = clock
        self._capacity = capacity
        self._entries: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, key: Hashable) -> float:
        score, at = self._entries.get(key, (0.0, 0.0))
        return score * 0.5 ** ((self._clock() - at) / _HALF_LIFE) if score else 0.0

    def add(self, key: Hashable) -> float:
        """Add one and return what it was before."""
        before = self.of(key)
        self._put(key, before + 1)
        return before

    def take_back(self, key: Hashable) -> None:
        score = self.of(key) - 1
        if score > 0:
            self._put(key, score)
        else:
            self.forget(key)

    def forget(self, key: Hashable) -> None:
        self._entries.pop(key, None)

    def _put(self, key: Hashable, score: float) -> None:
        self._entries[key] = (score, self._clock())
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)


def network_of(address: str) -> str:
    """Return an address, or for IPv6 the /64 around it: whoever has one has them all."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> 64 << 64))


def _delay(failures_too_many: float) -> float:
    if failures_too_many < 0:
        return 0.0
    return min(SLOWEST, _FIRST_DELAY * 2 ** min(failures_too_many, 10.0))


def _seconds_to_fade(score: float) -> int:
    return max(1, math.ceil(_HALF_LIFE * math.log2(score / MOST_FROM_ADDRESS)) + 1)
