"""How many workers a pool should have: a pure rule of what waits, what is at work, and for how long."""

from dataclasses import dataclass, replace
from math import ceil

from engine.core.settings import Settings
from engine.domains.runs import Load
from engine.roles import DEFAULT_POOL, Pool

LONG_SECONDS = 3.0  # Whoever waits longer for a worker finds the others too busy, full or not.
GROW_SECONDS = 6.0  # An actor needs some seconds before it helps: what one adds is not added again meanwhile.
CALM_SECONDS = 30.0
COMFORTABLY_FULL = 0.7


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many workers a pool has at least and at most, and how many runs each has in hand at once."""

    fewest: int
    most: int
    runs_each: int


@dataclass(frozen=True, slots=True)
class Scale:
    """How many workers a pool should have, when that last grew, and since when fewer would do."""

    workers: int
    grown_at: float = float("-inf")
    calm_since: float | None = None


def next_scale(scale: Scale, load: Load, bounds: Bounds, now: float) -> Scale:
    """Return the scale from now on: it grows at once and with the work, and shrinks slowly, one by one.

    Between full and comfortably full it stays as it is, so a steady load never moves it to and fro.
    """
    workers = min(max(scale.workers, bounds.fewest), bounds.most)
    scale = replace(scale, workers=workers)
    busy = load.running + load.waiting
    needed = ceil(busy / bounds.runs_each)
    has_waited = load.waiting > 0 and load.oldest_seconds >= LONG_SECONDS
    if has_waited:
        needed = max(needed, workers + 1)
    if needed > workers:
        may_grow = now - scale.grown_at >= GROW_SECONDS or workers == 0
        grown = min(needed, bounds.most)
        if may_grow and grown > workers:
            return Scale(grown, grown_at=now)
        return replace(scale, calm_since=None)
    if workers > max(bounds.fewest, ceil(busy / (bounds.runs_each * COMFORTABLY_FULL))):
        calm_since = now if scale.calm_since is None else scale.calm_since
        if now - calm_since >= CALM_SECONDS:
            return replace(scale, workers=workers - 1, calm_since=now)
        return replace(scale, calm_since=calm_since)
    return replace(scale, calm_since=None)


def bounds_of(pool: Pool, settings: Settings, *, machines: int) -> Bounds:
    """Return the bounds of a pool: the default one has a worker on every machine, as far as it may."""
    runs_each = pool.resources.concurrency or settings.worker_runs
    if pool.name == DEFAULT_POOL:
        most = max(settings.workers, settings.workers_most)
        return Bounds(min(max(settings.workers, machines), most), most, runs_each)
    fewest, most = settings.bounds_of_pool(pool.name)
    return Bounds(fewest, most, runs_each)


def load_of(pool: Pool, by_role: dict[str, Load], pools: dict[str, Pool]) -> Load:
    """Return the load of a pool's roles; the default pool has those of every role that no other has."""
    if pool.name == DEFAULT_POOL:
        apart = {code for other in pools.values() if other.name != DEFAULT_POOL for code in other.roles}
        mine = [load for code, load in by_role.items() if code not in apart]
    else:
        mine = [by_role[code] for code in pool.roles if code in by_role]
    return Load(
        waiting=sum(load.waiting for load in mine),
        running=sum(load.running for load in mine),
        oldest_seconds=max((load.oldest_seconds for load in mine), default=0.0),
    )
