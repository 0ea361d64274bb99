"""What Ray costs and gives beside one process: `scripts/bench --ray`, each compared in the same run."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from bench.engine_process import EngineProcess, EngineRefused
from bench.fake_model import INSTANT, WAITING, Pace
from bench.load import Result, rush, wave
from bench.processes import descendants, proportional_memory_mb
from bench.report import Section
from bench.scenarios import PACE_NOTE
from bench.stage import DIRECT, PACE, Stage

INLINE, RAY = "inline", "Ray"
RUNTIMES: dict[str, dict[str, str]] = {
    INLINE: {"RUGPT_RUNTIME": "inline"},
    RAY: {"RUGPT_RUNTIME": "ray", "RUGPT_WORKERS": "1", "RUGPT_WORKERS_MOST": "1"},
}
CHATS = (1, 50)
FIRST_TOKEN_GOAL_MS = 5.0
QUIET_CORES = 0.3
USERS = 32
CHATS_PER_USER = 8
WORKERS = (1, 2, 4)
RUNS_EACH = 8
WAITING_USERS = 64
LINEAR_GOAL = 0.9
API_GOAL_SECONDS = 3.0
ANSWER_GOAL_SECONDS = 10.0
IDLE_SECONDS = 15.0
# The first that is found in a command line says whose a process is.
PARTS = {
    "engine.cli": "the engine",
    "ray_cluster.host": "its keeper",
    "ray::WorkerActor": "the worker",
    "ray::SupervisorActor": "the supervisor",
    "postgres": "",
    "gcs_server": "Ray: head",
    "raylet/raylet": "Ray: raylet",
    "ray::": "Ray: spare workers",
    "ray": "Ray: agents, monitors and launcher",
}


async def first_token(stage: Stage) -> Section:
    """Measure how much later the first token comes with Ray than from one process."""
    found: dict[tuple[str, int], Result] = {}
    for chats in CHATS:
        found[DIRECT, chats] = (await stage.wave(DIRECT, chats)).result
    for runtime in RUNTIMES:
        async with _engine(stage, runtime, PACE) as engine:
            mine = await engine.new_chats(max(CHATS))
            for chats in CHATS:
                turns = 20 if chats == 1 else 5
                with stage.busy(f"{runtime}: {chats} chats"), stage.watching_others():
                    await engine.log_in()
                    result = await wave(engine.target(mine[:chats]), turns=turns, spread_seconds=PACE.seconds)
                stage.console.print(
                    f"{runtime:12} {chats:4} chats  first token {_times(result)} ms", highlight=False
                )
                stage.tell_errors(result)
                found[runtime, chats] = result
    rows = []
    for chats in CHATS:
        direct, inline, with_ray = (found[name, chats] for name in (DIRECT, INLINE, RAY))
        more = with_ray.first_ms(0.5) - inline.first_ms(0.5)
        rows.append(
            (
                str(chats),
                _times(direct),
                _times(inline, less=direct),
                _times(with_ray, less=direct),
                f"{more:.1f}",
                _judged(f"≤ {FIRST_TOKEN_GOAL_MS:.0f} more", more <= FIRST_TOKEN_GOAL_MS, stage),
            )
        )
    return Section(
        "ray-first-token",
        "With Ray: added time to the first token, ms, p50 / p95",
        ("chats", DIRECT, f"{INLINE} adds", f"{RAY} adds", "more at p50", "goal"),
        tuple(rows),
        (
            PACE_NOTE,
            "One worker. With Ray it is another process, whose words come to the API by the relay (NOTIFY).",
        ),
    )


async def turns(stage: Stage) -> Section:
    """Count the turns a second with an instant model, in one process and with Ray."""
    seconds = 4 if stage.quick else 10
    rows = []
    for runtime in RUNTIMES:
        async with _engine(stage, runtime, INSTANT) as engine:
            chats = await engine.new_chats(USERS * CHATS_PER_USER)
            target = engine.target(chats)
            with stage.busy(f"{runtime}: {USERS} users, instant model, {seconds} s"):
                await rush(target, users=USERS, seconds=1)  # Warms up.
                with stage.watching_others():
                    result = await rush(target, users=USERS, seconds=seconds)
            await engine.check_stored(chats, result)
            stage.tell_errors(result)
        rate = f"{len(result.turns) / result.seconds:.0f}"
        stage.console.print(f"{runtime:12} {rate} turns/s", highlight=False)
        times = f"{result.total_ms(0.5):.0f}", f"{result.total_ms(0.95):.0f}"
        rows.append((runtime, rate, *times, str(len(result.errors))))
    return Section(
        "ray-turns",
        f"With Ray: turns a second with an instant model, {USERS} users",
        ("", "turns a second", "p50, ms", "p95, ms", "failed"),
        tuple(rows),
        (f"{INSTANT.tokens} tokens, all at once; every question and answer is stored.",),
    )


async def scale(stage: Stage) -> Section:
    """Measure what more workers give when each can have so many runs in hand, and waits for a model."""
    seconds = 8 if stage.quick else 20
    rows = []
    one = 0.0
    for workers in WORKERS:
        settings = {
            "RUGPT_WORKERS": str(workers),
            "RUGPT_WORKERS_MOST": str(workers),
            "RUGPT_WORKER_RUNS": str(RUNS_EACH),
        }
        async with _engine(stage, RAY, WAITING, settings) as engine:
            target = engine.target(await engine.new_chats(WAITING_USERS))
            with stage.busy(f"{workers} workers, a model that waits"):
                await rush(target, users=WAITING_USERS, seconds=WAITING.seconds)
                with stage.watching_others():
                    result = await rush(target, users=WAITING_USERS, seconds=seconds)
            stage.tell_errors(result)
        rate = len(result.turns) / result.seconds
        one = one or rate
        share = rate / (one * workers)
        ideal = RUNS_EACH * workers / WAITING.seconds
        stage.console.print(f"{workers} workers {rate:.1f} turns/s of {ideal:.0f}", highlight=False)
        goal = _verdict(f"≥ {LINEAR_GOAL:.0%}", share >= LINEAR_GOAL and not result.errors)
        cells = f"{rate:.1f}", f"{rate / ideal:.0%}", f"{share:.0%}", str(len(result.errors))
        rows.append((str(workers), *cells, goal if workers > 1 else ""))
    return Section(
        "ray-scale",
        "With Ray: more workers, with a model that lets them wait",
        ("workers", "turns a second", "of the ideal", "of linear", "failed", "goal"),
        tuple(rows),
        (
            f"The model takes {WAITING.seconds:.1f} s for an answer; a worker has {RUNS_EACH} runs in hand.",
            f"{WAITING_USERS} users ask without a pause, so that there is always a question that waits.",
            f"Ideal: {RUNS_EACH / WAITING.seconds:.0f} turns a second for each. Linear: as one did.",
        ),
    )


async def memory(stage: Stage) -> Section:
    """Measure the memory of an idle engine, in one process and with Ray."""
    rows = []
    for runtime in RUNTIMES:
        async with _engine(stage, runtime, PACE) as engine:
            with stage.busy(f"{runtime}: idle"):
                await asyncio.sleep(2 if stage.quick else IDLE_SECONDS)
            parts = _memory_of_parts(engine.child.pid)
        rows += [("", part, f"{mb:.0f}") for part, mb in sorted(parts.items(), key=lambda one: -one[1])]
        rows.append((runtime, "together", f"{sum(parts.values()):.0f}"))
    return Section(
        "ray-memory",
        "With Ray: memory of an idle engine, MB",
        ("", "of", "MB"),
        tuple(rows),
        ("PSS: pages that several processes share are divided among them. Without PostgreSQL.",),
    )


async def start(stage: Stage) -> Section:
    """Measure how long it takes from the start until the API answers, and until the first answer's word."""
    rows = []
    for runtime in RUNTIMES:
        data = stage.folder / f"start-{runtime}"
        await _start_and_ask(stage, runtime, data, new=True)
        times = [
            await _start_and_ask(stage, runtime, data, new=False) for _ in range(1 if stage.quick else 3)
        ]
        api, word = (median(each) for each in zip(*times, strict=True))
        goal = (
            f"{_verdict(f'API ≤ {API_GOAL_SECONDS:.0f}', api <= API_GOAL_SECONDS)}, "
            f"{_verdict(f'word ≤ {ANSWER_GOAL_SECONDS:.0f}', word <= ANSWER_GOAL_SECONDS)}"
        )
        rows.append((runtime, f"{api:.2f}", f"{word:.2f}", goal if runtime == RAY else ""))
    return Section(
        "ray-start",
        "With Ray: from the start of the process, s",
        ("", "API answers", "first word of an answer", "goal"),
        tuple(rows),
        (
            "On a prepared data folder, with the database's own start.",
            "The question is asked as soon as the API answers; with Ray the engine's own worker stands in.",
        ),
    )


SCENARIOS = {
    "ray-first-token": first_token,
    "ray-turns": turns,
    "ray-scale": scale,
    "ray-memory": memory,
    "ray-start": start,
}


@asynccontextmanager
async def _engine(
    stage: Stage, runtime: str, pace: Pace, settings: Mapping[str, str] | None = None
) -> AsyncIterator[EngineProcess]:
    """Run an engine of this runtime, ready and registered, on a data folder of its own."""
    number = len(list(stage.folder.iterdir()))
    with stage.busy(f"{runtime}: starting"):
        engine = await stage.new_engine(
            stage.folder / f"{number}", pace, {**RUNTIMES[runtime], **(settings or {})}
        )
    try:
        await engine.register()
        if runtime == RAY:
            await all_work(engine, int((settings or RUNTIMES[RAY])["RUGPT_WORKERS"]))
        yield engine
    finally:
        await engine.stop()


async def all_work(engine: EngineProcess, workers: int, limit_seconds: float = 60) -> None:
    """Wait until so many workers are seen, and the engine's own stands in for them no longer."""
    for _ in range(int(limit_seconds / 0.2)):
        said = engine.child.output.read_text(errors="replace")
        has_left = said.count("standing_in") == said.count("stood_in")
        if (await engine.readiness()).get("workers") == workers and has_left:
            return
        await asyncio.sleep(0.2)
    raise EngineRefused(f"{workers} workers are not seen after {limit_seconds} s")


async def _start_and_ask(stage: Stage, runtime: str, data: Path, *, new: bool) -> tuple[float, float]:
    with stage.busy(f"{runtime}: start on {'an empty' if new else 'a prepared'} data folder"):
        engine = await stage.new_engine(data, PACE, RUNTIMES[runtime], is_ready=False)
        try:
            if new:
                await engine.register()
            chats = await engine.new_chats(1)
            result = await wave(engine.target(chats), turns=1, spread_seconds=0, warm_up=0)
        finally:
            await engine.stop()
    if not result.turns:
        raise EngineRefused(f"no answer after a start: {result.errors}")
    word = result.turns[0].answer.first_at - engine.child.started
    stage.console.print(f"{runtime:12} API {engine.ready_seconds:.2f} s, word {word:.2f} s", highlight=False)
    return engine.ready_seconds, word


def _memory_of_parts(pid: int) -> dict[str, float]:
    parts: dict[str, float] = defaultdict(float)
    for one, command in descendants(pid).items():
        found = next((part for key, part in PARTS.items() if re.search(re.escape(key), command)), "other")
        if found:
            parts[found] += proportional_memory_mb(one)
    return parts


def _times(result: Result, *, less: Result | None = None) -> str:
    shares = (0.5, 0.95)
    return " / ".join(
        f"{result.first_ms(share) - (less.first_ms(share) if less else 0):.1f}" for share in shares
    ) + (f" ({len(result.errors)} failed)" if result.errors else "")


def _judged(goal: str, met: bool, stage: Stage) -> str:
    # A few milliseconds are less than what other programs add.
    return _verdict(goal, met) if stage.others_cores <= QUIET_CORES else f"{goal}: too noisy to tell"


def _verdict(goal: str, met: bool) -> str:
    return f"{goal}: {'met' if met else 'MISSED'}"
