"""Keeps the pools of a cluster: as many workers as the work needs, of the newest release, alive."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.core.errors import Refusal
from engine.core.logging import log
from engine.core.settings import Settings
from engine.domains.runs import Load
from engine.roles import Pool, Resources
from ray_cluster.fleet import Fleet, Name, least_crowded
from ray_cluster.scaling import Scale, bounds_of, load_of, next_scale
from ray_cluster.worker_actor import Look

PLACING_SECONDS = 180.0  # A machine with a free processor may have to be started first.
LEAST_STILL_SECONDS = 6.0
OF_A_LEASE = 0.8  # Whoever stands still so long is replaced by the time its runs may be taken over.
END_SECONDS = 15.0  # beyond what a worker was given to leave
STARTS = 12  # A pool whose workers die as soon as they are made is not given more of them in a minute.
STARTS_SECONDS = 60.0


@dataclass(slots=True)
class Watched:
    """What is known of one worker."""

    name: Name
    seen_at: float  # when it was first seen, or has answered last
    machine: str | None = None
    worker: str = ""
    look: Look | None = None
    has_answered: bool = False
    leaves_by: float | None = None

    @property
    def is_leaving(self) -> bool:
        return self.leaves_by is not None


@dataclass(slots=True)
class _Pool:
    scale: Scale
    started_at: list[float] = field(default_factory=list)


class Supervisor:
    """Looks after all workers, again and again: `tick` does one round."""

    def __init__(
        self,
        fleet: Fleet,
        settings: Settings,
        *,
        release: str,
        pools: Callable[[], dict[str, Pool]],
        load: Callable[[], Awaitable[dict[str, Load]]],
        take_from: Callable[[list[str]], Awaitable[int]],
        now: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._settings = settings
        self._release = release
        self._pools_now = pools
        self._load_now = load
        self._take_from = take_from
        self._dead: set[str] = set()
        self._now = now
        self._still_seconds = max(LEAST_STILL_SECONDS, settings.lease_seconds * OF_A_LEASE)
        self._workers: dict[Name, Watched] = {}
        self._pools: dict[str, _Pool] = {}
        self._leaving_machines: set[str] = set()

    def leave_machine(self, machine: str) -> int:
        """Have the workers of a machine go elsewhere; return how many are still there."""
        self._leaving_machines.add(machine)
        return len([each for each in list(self._workers.values()) if each.machine == machine])

    def state(self) -> dict[str, Any]:
        """Return what each pool has and should have, for whoever looks."""
        return {
            name: {
                "wanted": pool.scale.workers,
                "working": len([each for each in self._ours(name) if each.has_answered and each.look]),
            }
            for name, pool in list(self._pools.items())
        }

    async def tick(self) -> None:
        """See what there is and what there is to do, and change what does not fit."""
        await self._look()
        await self._replace_the_silent()
        await self._take_from_the_dead()
        pools = dict(self._pools_now())
        machines = [each for each in await self._fleet.machines() if each not in self._leaving_machines]
        by_role = await self._load()
        for name in {each.name.pool for each in self._workers.values()} - pools.keys():
            self._pools.pop(name, None)
        for pool in pools.values():
            await self._keep(pool, pools, machines, by_role)
        await self._retire(pools)

    async def end(self) -> bool:
        """Let every worker go; True when none is left. To be called again until then."""
        await self._look()
        await self._send_away(self._workers.values())
        return not self._workers

    async def _look(self) -> None:
        names = await self._fleet.names()
        now = self._now()
        for gone in self._workers.keys() - set(names):
            self._dead.add(self._workers.pop(gone).worker)
        for name in names:
            self._workers.setdefault(name, Watched(name, now))
        looks = await _together([self._fleet.look(name) for name in names])
        for name, look in zip(names, looks, strict=True):
            worker = self._workers[name]
            worker.look = look
            if look is not None and look.worker:
                if worker.worker and look.worker != worker.worker:
                    self._dead.add(worker.worker)  # Ray has started its process anew.
                worker.worker = look.worker
            worker.machine = look.node if look else worker.machine
            if look is not None and look.still_seconds < self._still_seconds:
                worker.has_answered, worker.seen_at = True, self._now()
            if look is not None and look.is_leaving and worker.leaves_by is None:
                worker.leaves_by = now + self._settings.drain_seconds + END_SECONDS

    async def _replace_the_silent(self) -> None:
        now = self._now()
        for worker in list(self._workers.values()):
            limit = self._still_seconds if worker.has_answered else PLACING_SECONDS
            has_left = worker.look is not None and worker.look.has_left
            is_late = worker.leaves_by is not None and now > worker.leaves_by
            if has_left or is_late or now - worker.seen_at >= limit:
                log.info("worker_ended", worker=str(worker.name), left=has_left)
                await self._fleet.end(worker.name)
                self._dead.add(self._workers.pop(worker.name).worker)

    async def _take_from_the_dead(self) -> None:
        """Let others go on with the runs of workers that are gone, before their leases run out."""
        dead = sorted(self._dead - {""})
        try:
            if dead and (runs := await self._take_from(dead)):
                log.info("runs_taken", workers=dead, runs=runs)
        except (Refusal, OSError) as away:  # Their leases run out, or the next round is luckier.
            log.warning("runs_not_taken", error=type(away).__name__)
            return
        self._dead.clear()

    async def _load(self) -> dict[str, Load] | None:
        try:
            return await self._load_now()
        except (Refusal, OSError) as away:  # Sizes stay as they are until it is back.
            log.warning("load_unknown", error=type(away).__name__)
            return None

    async def _keep(
        self, pool: Pool, pools: dict[str, Pool], machines: list[str], by_role: dict[str, Load] | None
    ) -> None:
        bounds = bounds_of(pool, self._settings, machines=len(machines))
        if (kept := self._pools.get(pool.name)) is None:
            # Whoever kept the pool before has had a reason for its size.
            there = sum(1 for each in self._workers.values() if each.name.pool == pool.name)
            kept = self._pools[pool.name] = _Pool(Scale(min(max(there, bounds.fewest), bounds.most)))
        before = kept.scale.workers
        if by_role is not None:
            kept.scale = next_scale(kept.scale, load_of(pool, by_role, pools), bounds, self._now())
        if kept.scale.workers != before:
            log.info("pool_scaled", pool=pool.name, workers=kept.scale.workers, before=before)
        ours = self._ours(pool.name)
        for _ in range(kept.scale.workers - len(ours)):
            if not self._may_start(kept):
                log.error("workers_keep_dying", pool=pool.name)
                break
            machine = None
            if pool.resources == Resources(concurrency=pool.resources.concurrency):
                crowd = [each.machine for each in self._workers.values() if each.machine]
                machine = least_crowded(machines, crowd)
            name = await self._fleet.start(pool, machine)
            self._workers[name] = Watched(name, self._now(), machine)
        spare = sorted(ours, key=lambda each: (each.has_answered, each.look.runs if each.look else 0))
        await self._send_away(spare[: max(0, len(ours) - kept.scale.workers)])

    async def _retire(self, pools: dict[str, Pool]) -> None:
        """Let go who is of another release or pool, or on a machine that leaves, once others work."""
        for worker in list(self._workers.values()):
            name = worker.name
            is_old = name.release != self._release
            has_heirs = name.pool not in pools or any(each.has_answered for each in self._ours(name.pool))
            wanted = self._pools[name.pool].scale.workers if name.pool in self._pools else 0
            if (is_old and (has_heirs or not wanted)) or name.pool not in pools or self._must_move(worker):
                await self._send_away([worker])

    async def _send_away(self, workers: Iterable[Watched]) -> None:
        for worker in list(workers):
            if worker.is_leaving:
                continue
            log.info("worker_leaves", worker=str(worker.name))
            worker.leaves_by = self._now() + self._settings.drain_seconds + END_SECONDS
            if worker.has_answered:
                await self._fleet.leave(worker.name, self._settings.drain_seconds)
            else:
                await self._fleet.end(worker.name)

    def _ours(self, pool: str) -> list[Watched]:
        return [
            each
            for each in list(self._workers.values())
            if each.name.release == self._release
            and each.name.pool == pool
            and not each.is_leaving
            and not self._must_move(each)
        ]

    def _must_move(self, worker: Watched) -> bool:
        return worker.machine in self._leaving_machines

    def _may_start(self, kept: _Pool) -> bool:
        now = self._now()
        kept.started_at = [each for each in kept.started_at if now - each < STARTS_SECONDS]
        if len(kept.started_at) >= max(STARTS, 2 * kept.scale.workers):
            return False
        kept.started_at.append(now)
        return True


async def _together(looks: Iterable[Awaitable[Look | None]]) -> list[Look | None]:
    return list(await asyncio.gather(*looks))
