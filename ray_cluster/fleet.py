"""The workers of a cluster, as Ray knows them: named actors that outlive whoever has started them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from engine.roles import Pool
from ray_cluster.worker_actor import Look, WorkerActor

PREFIX = "worker"
LOOK_SECONDS = 3.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A worker's name, which says whose it is: another supervisor finds it again by that."""

    release: str
    pool: str
    number: str

    def __str__(self) -> str:
        return f"{PREFIX}:{self.release}:{self.pool}:{self.number}"

    @classmethod
    def read(cls, text: str) -> "Name | None":
        """Return the name that a text is, or None when it is no worker's."""
        parts = text.split(":")
        return cls(*parts[1:]) if len(parts) == 4 and parts[0] == PREFIX else None


class Fleet(Protocol):
    """What a supervisor can do with workers."""

    async def names(self) -> list[Name]:
        """Return every worker there is, wherever it stands in its life."""
        ...

    async def machines(self) -> list[str]:
        """Return the machines of the cluster that live and may have workers."""
        ...

    async def look(self, name: Name) -> Look | None:
        """Return what a worker says of itself, or None when it does not answer."""
        ...

    async def start(self, pool: Pool, machine: str | None) -> Name:
        """Start one more worker of this release, on a machine or wherever there is room."""
        ...

    async def leave(self, name: Name, seconds: float) -> None:
        """Ask a worker to take no more runs, and to hand back what has not ended in so many seconds."""
        ...

    async def end(self, name: Name) -> None:
        """End a worker's process for good, whatever it does."""
        ...


class RayFleet:
    """The fleet of one namespace; started workers have the given settings."""

    def __init__(self, sealed: bytes, token_path: str, release: str) -> None:
        import ray

        self._ray: Any = ray
        self._sealed = sealed
        self._token_path = token_path
        self._release = release

    async def names(self) -> list[Name]:
        names = await asyncio.to_thread(self._ray.util.list_named_actors)
        return sorted(name for each in names if (name := Name.read(each)))

    async def machines(self) -> list[str]:
        nodes = [node for node in await asyncio.to_thread(self._ray.nodes) if node["Alive"]]
        with_processors = [node for node in nodes if node["Resources"].get("CPU", 0) > 0]
        return sorted(node["NodeID"] for node in with_processors or nodes)

    async def look(self, name: Name) -> Look | None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                look: Look = await self._actor(name).look.remote()
                return look
        except (TimeoutError, ValueError, self._ray.exceptions.RayError):
            return None

    async def start(self, pool: Pool, machine: str | None) -> Name:
        return await asyncio.to_thread(self.start_now, pool, machine)

    def start_now(self, pool: Pool, machine: str | None = None) -> Name:
        """Start one more worker without waiting for it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        name = Name(self._release, pool.name, uuid4().hex[:8])
        # There and nowhere else: a machine that has just come would otherwise be passed over. If it goes,
        # so does the actor, and the supervisor starts another.
        where = NodeAffinitySchedulingStrategy(machine, soft=False) if machine else "SPREAD"
        resources = pool.resources
        # It waits for models, not for a processor; a call may wait while another one stops it.
        self._ray.remote(WorkerActor).options(
            name=str(name),
            lifetime="detached",
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=resources.memory_mb * 2**20 or None,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=4,
            scheduling_strategy=where,
        ).remote(self._sealed, self._token_path, pool.name)
        return name

    async def leave(self, name: Name, seconds: float) -> None:
        try:
            self._actor(name).leave.remote(seconds)
        except ValueError:
            return  # It is gone.

    async def end(self, name: Name) -> None:
        try:
            self._ray.kill(self._actor(name), no_restart=True)
        except ValueError:
            return

    async def stop_all(self) -> int:
        """Let every worker hand its runs back at once; return how many did so in time."""
        stopping = [self._actor(name).stop.remote() for name in await self.names()]
        if not stopping:
            return 0
        done, _ = await asyncio.to_thread(
            self._ray.wait, stopping, num_returns=len(stopping), timeout=STOP_SECONDS
        )
        return len(done)

    def _actor(self, name: Name) -> Any:
        return self._ray.get_actor(str(name))


def least_crowded(machines: Iterable[str], crowd: Iterable[str]) -> str | None:
    """Return the machine that has the fewest workers, or None where there is no machine to choose."""
    has = list(crowd)
    return min(machines, key=has.count, default=None)
