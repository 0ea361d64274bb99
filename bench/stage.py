"""What a scenario needs: the servers, each started once, and the waves asked of them so far."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.status import Status

from bench.engine_process import EngineProcess
from bench.fake_model import Pace
from bench.load import Result, Target, model_target, wave
from bench.processes import (
    Child,
    cpu_seconds,
    machine_cpu_seconds,
    memory_mb,
    postgres_pid,
    start,
    tree_cpu_seconds,
)

PACE = Pace(first_ms=50, gap_ms=20, tokens=100)
HELD_FACTOR = 1.25  # An answer that takes longer than this times the ideal is no longer "live".
DIRECT, PROXY, ENGINE = "model itself", "byte proxy", "engine"


@dataclass(frozen=True, slots=True)
class Measured:
    """A wave of questions and what answering them cost the server's process."""

    result: Result
    cpu_ms: float  # per turn
    database_cpu_ms: float  # per turn, of all PostgreSQL processes; 0 without an embedded one
    memory_mb: float  # the most that was seen
    load_share: float  # of one core, used by the load generator itself

    @property
    def held(self) -> bool:
        """Whether every answer came, and nearly all at the speed of the model."""
        good = not self.result.errors and bool(self.result.turns)
        return good and self.result.total_ms(0.95) <= HELD_FACTOR * PACE.seconds * 1000


@dataclass(slots=True)
class Stage:
    """The servers under test; the engine starts when a scenario first asks for it."""

    console: Console
    quick: bool
    with_engine: bool
    settings: Mapping[str, str]
    folder: Path
    model: Child
    proxy: Child
    proxy_ready_seconds: float
    idle_mb: dict[str, float]
    _exits: AsyncExitStack
    others_cores: float = 0.0  # the most that programs other than ours used during a measurement
    _engine: EngineProcess | None = None
    _chats: list[str] = field(default_factory=list)
    _waves: dict[tuple[str, int], Measured] = field(default_factory=dict)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Who is measured."""
        return (DIRECT, PROXY, ENGINE) if self.with_engine else (DIRECT, PROXY)

    async def engine(self) -> EngineProcess:
        """Return the engine that writes at the usual pace, registered and logged in."""
        if self._engine is None:
            self._engine = await self.new_engine(self.folder / "engine", PACE)
            self._exits.push_async_callback(self._engine.stop)
            self.idle_mb[ENGINE] = await _idle_memory(self._engine.child.pid)
            await self._engine.register()
        return self._engine

    async def new_engine(
        self, data: Path, pace: Pace, settings: Mapping[str, str] | None = None, *, is_ready: bool = True
    ) -> EngineProcess:
        """Start another engine, which the caller stops; without `is_ready` only its API answers by then."""
        return await EngineProcess.start(
            data,
            model=pace.model,
            model_port=self.model.port,
            settings={**(settings or {}), **self.settings},
            is_ready=is_ready,
        )

    async def wave(self, subject: str, chats: int) -> Measured:
        """Return what a wave of so many chats brought, asking it if that was not done before."""
        if (subject, chats) not in self._waves:
            turns = self._turns(chats)
            with self.busy(f"{subject}: {chats} chats, {turns} + 1 turns each"), self.watching_others():
                self._waves[subject, chats] = await self._ask(subject, chats, turns)
            self._tell(subject, chats, self._waves[subject, chats])
        return self._waves[subject, chats]

    def busy(self, doing: str) -> Status:
        """Show what is going on, while it goes on."""
        return self.console.status(doing, refresh_per_second=2)

    @contextmanager
    def watching_others(self) -> Iterator[None]:
        """Note how much processor time programs that are not ours use meanwhile."""
        before, started = self._others_seconds(), time.perf_counter()
        yield
        cores = (self._others_seconds() - before) / (time.perf_counter() - started)
        self.others_cores = max(self.others_cores, cores)

    def _others_seconds(self) -> float:
        databases = [pid for data in self.folder.iterdir() if (pid := postgres_pid(data))]
        return machine_cpu_seconds() - tree_cpu_seconds(os.getpid(), *databases)

    def _turns(self, chats: int) -> int:
        if chats == 1:
            return 6 if self.quick else 20
        if chats <= 50:
            return 2 if self.quick else 6
        return 2 if self.quick else 4

    async def _ask(self, subject: str, chats: int, turns: int) -> Measured:
        if subject != ENGINE:
            server = self.model if subject == DIRECT else self.proxy
            return await _measure(server.pid, model_target(server.port, PACE.model, chats), turns, None)
        engine = await self.engine()
        await engine.log_in()
        self._chats += await engine.new_chats(max(chats - len(self._chats), 0))
        mine = self._chats[:chats]
        measured = await _measure(engine.child.pid, engine.target(mine), turns, engine)
        await engine.check_stored(mine, measured.result)
        return measured

    def _tell(self, subject: str, chats: int, measured: Measured) -> None:
        result = measured.result
        line = f"{subject:12} {chats:4} chats"
        if result.turns:
            first = f"{result.first_ms(0.5):.1f}/{result.first_ms(0.95):.1f}"
            whole = f"{result.total_ms(0.5):.0f}/{result.total_ms(0.95):.0f}"
            line += f"  first token {first} ms  turn {whole} ms  CPU {measured.cpu_ms:.1f} ms/turn"
            line += f"  {measured.memory_mb:.0f} MB  load generator {measured.load_share:.0%}"
        self.console.print(line, highlight=False, soft_wrap=True)
        self.tell_errors(result)

    def tell_errors(self, result: Result) -> None:
        """Print some of what went wrong."""
        tell_errors(self.console, result)


def tell_errors(console: Console, result: Result) -> None:
    """Print some of what went wrong."""
    for error in sorted(set(result.errors))[:3]:
        console.print(f"  {len(result.errors)} of {result.asked} failed: {error}", style="red", markup=False)


async def _measure(pid: int, target: Target, turns: int, engine: EngineProcess | None) -> Measured:
    watch = asyncio.create_task(_most_memory(pid))
    database = engine.database_cpu_seconds() if engine else 0.0
    cpu, own = cpu_seconds(pid), time.process_time()
    result = await wave(target, turns=turns, spread_seconds=PACE.seconds)
    cpu, own = cpu_seconds(pid) - cpu, time.process_time() - own
    database = (engine.database_cpu_seconds() if engine else 0.0) - database
    watch.cancel()
    answered = max(result.asked - len(result.errors), 1)
    return Measured(
        result, cpu * 1000 / answered, database * 1000 / answered, await watch, own / result.seconds
    )


async def _idle_memory(pid: int) -> float:
    await asyncio.sleep(2)  # Whatever a start leaves to do is done by then.
    return memory_mb(pid)


async def _most_memory(pid: int) -> float:
    """Watch a process until cancelled, and return the most memory it had."""
    most = 0.0
    with suppress(asyncio.CancelledError):
        while True:
            most = max(most, memory_mb(pid))
            await asyncio.sleep(0.25)
    return most


@asynccontextmanager
async def set_stage(
    console: Console, *, quick: bool, with_engine: bool, settings: Mapping[str, str]
) -> AsyncIterator[Stage]:
    """Start the fake model and the proxy, and end all that was started afterwards."""
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="rugpt-bench-")))
        model = await start("bench.fake_model")
        exits.push_async_callback(model.stop)
        proxy = await start("bench.proxy", f"http://127.0.0.1:{model.port}/v1")
        ready = time.perf_counter() - proxy.started
        exits.push_async_callback(proxy.stop)
        idle = {PROXY: await _idle_memory(proxy.pid)}
        yield Stage(console, quick, with_engine, settings, folder, model, proxy, ready, idle, exits)
