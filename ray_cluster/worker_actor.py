"""An actor that hosts one of the engine's workers."""

import asyncio
import os
from dataclasses import dataclass

from engine.bootstrap import open_worker
from engine.core.logging import set_up_logging
from engine.worker import WorkerHost
from ray_cluster.cluster import token_here
from ray_cluster.loop_thread import LoopThread
from ray_cluster.sealed import unseal

STOP_SECONDS = 9.0


@dataclass(frozen=True, slots=True)
class Look:
    """What an actor says of itself: who it is, how busy, whether it stands still or is leaving."""

    node: str
    worker: str  # by this name it holds runs
    runs: int
    still_seconds: float
    is_leaving: bool
    has_left: bool


class WorkerActor:
    """One worker in one process; `ray.remote` is applied where it is started.

    It works from the moment it is made, so that one that Ray has restarted works again by itself. The
    worker has a thread and an event loop of its own: Ray's calls never wait for it, nor it for them.
    """

    def __init__(self, sealed: bytes, token_path: str, pool: str, node: str = "") -> None:
        self._settings = unseal(sealed, token_here(token_path))
        set_up_logging(self._settings.log_level)
        self._pool = pool
        self._node = node or _node_id()
        self._host: WorkerHost | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._is_leaving = False
        self._thread = LoopThread("worker", self._work)

    def look(self) -> Look:
        """Say how it is."""
        return Look(
            node=self._node,
            worker=self._host.worker_name if self._host else "",
            runs=self._host.runs_in_hand if self._host else 0,
            still_seconds=self._thread.still_seconds,
            is_leaving=self._is_leaving,
            has_left=not self._thread.is_alive,
        )

    def leave(self, seconds: float) -> None:
        """Take no more runs, let those in hand end for so long, then hand them back; `look` tells when."""
        self._is_leaving = True
        self._thread.soon(self._leave_soon, seconds)

    def stop(self) -> bool:
        """Hand unfinished runs back at once and end; False when that took too long."""
        self._is_leaving = True
        return self._thread.stop(STOP_SECONDS)

    def _leave_soon(self, seconds: float) -> None:
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(seconds))

    async def _leave(self, seconds: float) -> None:
        if self._host is not None:
            await self._host.drain(seconds)
        self._thread.stop_soon()

    async def _work(self, stop: asyncio.Event) -> None:
        async with open_worker(self._settings, pool=self._pool) as self._host:
            await stop.wait()


def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else str(os.getpid())
