"""Kills and stops what runs are worked with, at random from a seed, and remembers who held which run."""

import asyncio
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import psutil

from bench.chaos.stage import Stage

WORKER, SUPERVISOR = "ray::WorkerActor", "ray::SupervisorActor"
PAUSE_SECONDS = (1.5, 6.0)
STOP_SECONDS = (2.0, 14.0)
# How often each trouble comes in one round, whose order is drawn; a long run plays several rounds.
ROUND = {
    "kill_a_worker": 9,
    "stop_a_worker": 4,
    "kill_the_supervisor": 2,
    "restart_the_database": 2,
    "kill_the_raylet": 1,
    "kill_the_head": 1,
    "kill_the_host": 1,
    "kill_the_engine": 1,
}


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
        """Make trouble until cancelled; what finds nobody to hurt is tried once more in its round."""
        while True:
            round_of = shuffled_round(self.chance)
            while round_of:
                await asyncio.sleep(self.chance.uniform(*PAUSE_SECONDS))
                name = round_of.pop()
                if await getattr(self, name)():
                    self.done[name] += 1
                elif round_of:
                    round_of.insert(0, name)

    async def end(self) -> None:
        """Let go on what stands still."""
        for process in self.stopped:
            _send(process, signal.SIGCONT)

    async def kill_a_worker(self) -> bool:
        found = self.stage.processes(WORKER)
        if found:
            one = self.chance.choice(found)
            await self._remember([one], of_all=False)
            _send(one, signal.SIGKILL)
        return bool(found)

    async def stop_a_worker(self) -> bool:
        found = self.stage.processes(WORKER)
        if found:
            one = self.chance.choice(found)
            _send(one, signal.SIGSTOP)
            self.stopped.append(one)
            asyncio.get_running_loop().call_later(
                self.chance.uniform(*STOP_SECONDS), _send, one, signal.SIGCONT
            )
        return bool(found)

    async def kill_the_supervisor(self) -> bool:
        found = self.stage.processes(SUPERVISOR)
        for one in found:
            _send(one, signal.SIGKILL)
        return bool(found)

    async def restart_the_database(self) -> bool:
        await self.stage.restart_database()
        return True

    async def kill_the_raylet(self) -> bool:
        return await self._kill_with_workers("/raylet/raylet")

    async def kill_the_head(self) -> bool:
        return await self._kill_with_workers("gcs_server")

    async def kill_the_host(self) -> bool:
        return await self._kill_with_workers("ray_cluster.host")

    async def kill_the_engine(self) -> bool:
        engine = self.stage.engine
        if engine is None:
            return False
        await self._remember(self.stage.processes(WORKER), of_all=True)
        os.kill(engine.pid, signal.SIGKILL)
        await engine.process.wait()
        await self.stage.start_engine()
        return True

    async def _kill_with_workers(self, name: str) -> bool:
        found = self.stage.processes(name)
        if found:
            await self._remember(self.stage.processes(WORKER), of_all=True)
            for one in found:
                _send(one, signal.SIGKILL)
        return bool(found)

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


def shuffled_round(chance: random.Random) -> list[str]:
    """Return the troubles of one round in the order in which a seed has them, the last one first."""
    troubles = [name for name, times in ROUND.items() for _ in range(times)]
    chance.shuffle(troubles)
    return troubles


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
