"""Kills and stops what runs are worked with, at random from a seed, and remembers who held which run."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import psutil

from bench.chaos.stage import Stage

WORKER, SUPERVISOR = "ray::WorkerActor", "ray::SupervisorActor"
PAUSE_SECONDS = (1.5, 6.0)
STOP_SECONDS = (2.0, 14.0)
OLD_TOKEN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Loss:
    """A run whose worker was killed, when, and whether all of Ray was killed with it."""

    run_id: UUID
    at: datetime
    of_all: bool


@dataclass
class Monkey:
    """One source of trouble."""

    stage: Stage
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)
    stopped: list[psutil.Process] = field(default_factory=list)

    async def run(self) -> None:
        """Make trouble until cancelled."""
        troubles: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (40, self.kill_a_worker),
            (20, self.stop_a_worker),
            (8, self.kill_the_supervisor),
            (8, self.restart_the_database),
            (5, self.kill_the_raylet),
            (4, self.kill_the_head),
            (4, self.kill_the_host),
            (5, self.kill_the_engine),
        ]
        while True:
            await asyncio.sleep(self.chance.uniform(*PAUSE_SECONDS))
            (trouble,) = self.chance.choices(
                [each for _, each in troubles], [weight for weight, _ in troubles]
            )
            await trouble()
            self.done[trouble.__name__] += 1

    async def end(self) -> None:
        """Let go on what stands still."""
        for process in self.stopped:
            _send(process, signal.SIGCONT)

    async def kill_a_worker(self) -> None:
        if found := self.stage.processes(WORKER):
            one = self.chance.choice(found)
            await self._remember([one], of_all=False)
            _send(one, signal.SIGKILL)

    async def stop_a_worker(self) -> None:
        if found := self.stage.processes(WORKER):
            one = self.chance.choice(found)
            _send(one, signal.SIGSTOP)
            self.stopped.append(one)
            asyncio.get_running_loop().call_later(
                self.chance.uniform(*STOP_SECONDS), _send, one, signal.SIGCONT
            )

    async def kill_the_supervisor(self) -> None:
        for one in self.stage.processes(SUPERVISOR):
            _send(one, signal.SIGKILL)

    async def restart_the_database(self) -> None:
        await self.stage.restart_database()

    async def kill_the_raylet(self) -> None:
        await self._kill_with_workers("/raylet/raylet")

    async def kill_the_head(self) -> None:
        await self._kill_with_workers("gcs_server")

    async def kill_the_host(self) -> None:
        await self._kill_with_workers("ray_cluster.host")

    async def kill_the_engine(self) -> None:
        engine = self.stage.engine
        if engine is None:
            return
        await self._remember(self.stage.processes(WORKER), of_all=True)
        os.kill(engine.pid, signal.SIGKILL)
        await engine.process.wait()
        await self.stage.start_engine()

    async def _kill_with_workers(self, name: str) -> None:
        await self._remember(self.stage.processes(WORKER), of_all=True)
        for one in self.stage.processes(name):
            _send(one, signal.SIGKILL)

    async def _remember(self, workers: list[psutil.Process], *, of_all: bool) -> None:
        """Note which runs these workers hold; where the database is away, nobody knows."""
        try:
            connection = await asyncpg.connect(self.stage.owner_url, timeout=5)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return
        try:
            rows = await connection.fetch(
                "SELECT id FROM runs WHERE status = 'running'"
                " AND split_part(worker, ':', 2) = ANY($1::text[])",
                [str(one.pid) for one in workers],
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return
        finally:
            connection.terminate()
        self.losses += [Loss(row["id"], datetime.now(UTC), of_all) for row in rows]


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
