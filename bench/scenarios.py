"""What we measure. Each scenario is a function from the stage to one section of the results."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from bench.engine_process import EngineRefused
from bench.fake_model import INSTANT
from bench.load import Result, Target, model_target, rush, wave
from bench.processes import peak_memory_mb
from bench.report import Section
from bench.stage import DIRECT, ENGINE, HELD_FACTOR, PACE, PROXY, Measured, Stage

Scenario = Callable[[Stage], Awaitable[Section]]

STEPS = (50, 100, 200, 400, 600, 800)
QUICK_STEPS = (50, 200, 400)
# (chats, share, most milliseconds added)
FIRST_TOKEN_GOALS = ((1, 0.5, 6.0), (50, 0.95, 20.0), (200, 0.95, 60.0))
STREAMS_GOAL = 400
TURNS_GOAL = 400
CPU_GOAL_MS = 12.0
IDLE_GOAL_MB = 180.0
READY_GOAL_SECONDS = 2.5
USERS = 32
CHATS_PER_USER = 8
PACE_NOTE = (
    f"The model's pace: first token after {PACE.first_ms} ms, then {PACE.gap_ms} ms between "
    f"{PACE.tokens} tokens ({PACE.seconds:.2f} s a turn). Chats begin evenly spread over one turn and "
    "then ask without a pause."
)
TURNS_NOTE = (
    f"{INSTANT.tokens} tokens, all at once. In the engine each user is a connection that goes round "
    f"{CHATS_PER_USER} chats of one account; every question and answer is stored, and the last answers of 50 "
    "chats are read back and compared with what was streamed."
)
COLD_START_NOTE = (
    "With the embedded database's own start. The first word's time holds a registration (empty folder) or a "
    f"login, a new chat, a question and {PACE.first_ms} ms of the model."
)


async def first_token(stage: Stage) -> Section:
    """Measure how much later the first token comes than from the model itself."""
    rows = []
    for chats, share, goal in FIRST_TOKEN_GOALS:
        waves = {subject: await stage.wave(subject, chats) for subject in stage.subjects}
        direct = waves.pop(DIRECT).result
        row = [str(chats), f"{direct.first_ms(0.5):.1f} / {direct.first_ms(0.95):.1f}"]
        row += [_added(measured.result, direct) for measured in waves.values()]
        if ENGINE in waves:
            engine = waves[ENGINE].result
            met = engine.first_ms(share) - direct.first_ms(share) <= goal
            row.append(_verdict(f"p{share * 100:.0f} ≤ {goal:.0f}", met and not engine.errors))
        rows.append(tuple(row))
    columns = ["chats", f"{DIRECT}, p50 / p95", *(f"{name} adds" for name in stage.subjects[1:]), "goal"]
    return Section(
        "first-token",
        "Added time to the first token, ms",
        tuple(columns[: len(rows[0])]),
        tuple(rows),
        (
            PACE_NOTE,
            "Added: a percentile minus the same percentile of asking the model itself at as many chats.",
        ),
    )


async def streams(stage: Stage) -> Section:
    """Find how many answers can stream at once before they are no longer live."""
    rows = []
    held = dict.fromkeys(stage.subjects, 0)
    running = list(stage.subjects)
    for chats in QUICK_STEPS if stage.quick else STEPS:
        cells = {subject: await stage.wave(subject, chats) for subject in running}
        rows.append((str(chats), *(_turn(cells.get(subject)) for subject in stage.subjects), ""))
        running = [subject for subject in running if cells[subject].held]
        held |= dict.fromkeys(running, chats)
        if not running:
            break
    goal = _verdict(f"engine ≥ {STREAMS_GOAL}", held[ENGINE] >= STREAMS_GOAL) if ENGINE in held else ""
    rows.append(("held", *(str(number) for number in held.values()), goal))
    return Section(
        "streams",
        f"Answers streaming at once, p95 of a turn as a multiple of the ideal {PACE.seconds:.2f} s",
        ("streams", *stage.subjects, "goal"),
        tuple(rows),
        (
            PACE_NOTE,
            f"Held: no error, and p95 at most {HELD_FACTOR} times the ideal. Nobody is asked beyond that.",
        ),
    )


async def turns(stage: Stage) -> Section:
    """Count how many turns are answered and stored each second when the model needs no time."""
    seconds = 4 if stage.quick else 10
    rows = []
    for name, server in ((DIRECT, stage.model), (PROXY, stage.proxy)):
        target = model_target(server.port, INSTANT.model, USERS)
        rows.append((name, *await _rush(stage, name, target, seconds), ""))
    if stage.with_engine:
        engine = await stage.new_engine(stage.folder / "instant", INSTANT)
        try:
            await engine.register()
            chats = await engine.new_chats(USERS * CHATS_PER_USER)
            result = await _rushed(stage, ENGINE, engine.target(chats), seconds)
            await engine.check_stored(chats, result)
            stage.tell_errors(result)
        finally:
            await engine.stop()
        met = not result.errors and len(result.turns) / result.seconds >= TURNS_GOAL
        rows.append((ENGINE, *_rush_cells(result), _verdict(f"≥ {TURNS_GOAL}", met)))
    return Section(
        "turns",
        f"Turns a second with an instant model, {USERS} users",
        ("", "turns a second", "p50, ms", "p95, ms", "failed", "goal"),
        tuple(rows),
        (TURNS_NOTE,),
    )


async def cpu(stage: Stage) -> Section:
    """Measure the processor time that one answer costs."""
    rows = []
    for chats in (50, 200):
        row = [str(chats)]
        row += [f"{(await stage.wave(subject, chats)).cpu_ms:.1f}" for subject in stage.subjects[1:]]
        if stage.with_engine:
            measured = await stage.wave(ENGINE, chats)
            row += [
                f"{measured.database_cpu_ms:.1f}",
                _verdict(f"≤ {CPU_GOAL_MS:.0f}", measured.cpu_ms <= CPU_GOAL_MS),
            ]
        rows.append(tuple(row))
    columns = ("chats", *stage.subjects[1:], "PostgreSQL beside it", "goal")
    return Section(
        "cpu",
        f"Processor time for one turn of {PACE.tokens} tokens, ms",
        columns[: len(rows[0])],
        tuple(rows),
        (PACE_NOTE, "Of the server's process alone, in user and system; the database is named beside it."),
    )


async def memory(stage: Stage) -> Section:
    """Measure the memory of the processes, before anybody asked and under load."""
    rows = []
    busy = 200
    for subject in stage.subjects[1:]:
        loaded = (await stage.wave(subject, busy)).memory_mb
        idle = stage.idle_mb[subject]
        pid = (await stage.engine()).child.pid if subject == ENGINE else stage.proxy.pid
        goal = _verdict(f"idle ≤ {IDLE_GOAL_MB:.0f}", idle <= IDLE_GOAL_MB) if subject == ENGINE else ""
        rows.append((subject, f"{idle:.0f}", f"{loaded:.0f}", f"{peak_memory_mb(pid):.0f}", goal))
    return Section(
        "memory",
        "Resident memory, MB",
        ("", "idle", f"with {busy} streams", "most so far in this run", "goal"),
        tuple(rows),
        ("Of the server's process alone, without PostgreSQL. Idle: just started, nothing asked yet.",),
    )


async def cold_start(stage: Stage) -> Section:
    """Measure how long a start takes until the API is ready, and until the first word of an answer."""
    rows = [(PROXY, f"{stage.proxy_ready_seconds:.2f}", "", "")]
    if stage.with_engine:
        data = stage.folder / "cold"
        ready, word = await _start_and_ask(stage, data, new=True)
        rows.append((f"{ENGINE}, empty data folder", f"{ready:.2f}", f"{word:.2f}", ""))
        again = [await _start_and_ask(stage, data, new=False) for _ in range(1 if stage.quick else 3)]
        ready, word = (median(times) for times in zip(*again, strict=True))
        goal = _verdict(f"ready ≤ {READY_GOAL_SECONDS}", ready <= READY_GOAL_SECONDS)
        rows.append((f"{ENGINE}, prepared data folder", f"{ready:.2f}", f"{word:.2f}", goal))
    return Section(
        "cold-start",
        "Cold start, s after the process began",
        ("", "API ready", "first word of an answer", "goal"),
        tuple(rows),
        (COLD_START_NOTE,),
    )


SCENARIOS: dict[str, Scenario] = {
    "first-token": first_token,
    "cpu": cpu,
    "streams": streams,
    "memory": memory,
    "turns": turns,
    "cold-start": cold_start,
}


async def _start_and_ask(stage: Stage, data: Path, *, new: bool) -> tuple[float, float]:
    """Start an engine, ask it one question and stop it; return the seconds to ready and to the first word."""
    with stage.busy(f"{ENGINE}: cold start on {'an empty' if new else 'a prepared'} data folder"):
        engine = await stage.new_engine(data, PACE)
        try:
            if new:
                await engine.register()
            chats = await engine.new_chats(1)
            result = await wave(engine.target(chats), turns=1, spread_seconds=0, warm_up=0)
        finally:
            await engine.stop()
    if not result.turns:
        raise EngineRefused(f"no answer after a cold start: {result.errors}")
    word = result.turns[0].answer.first_at - engine.child.started
    stage.console.print(
        f"{ENGINE:12} ready {engine.ready_seconds:.2f} s, first word {word:.2f} s", highlight=False
    )
    return engine.ready_seconds, word


def _verdict(goal: str, met: bool) -> str:
    return f"{goal}: {'met' if met else 'MISSED'}"


def _added(result: Result, direct: Result) -> str:
    added = [f"{result.first_ms(share) - direct.first_ms(share):.1f}" for share in (0.5, 0.95)]
    return " / ".join(added) + _failed(result)


def _turn(measured: Measured | None) -> str:
    if measured is None:
        return "-"
    return f"{measured.result.total_ms(0.95) / PACE.seconds / 1000:.2f}" + _failed(measured.result)


def _failed(result: Result) -> str:
    return f" ({len(result.errors)} failed)" if result.errors else ""


async def _rush(stage: Stage, name: str, target: Target, seconds: float) -> tuple[str, ...]:
    return _rush_cells(await _rushed(stage, name, target, seconds))


async def _rushed(stage: Stage, name: str, target: Target, seconds: float) -> Result:
    with stage.busy(f"{name}: {USERS} users, instant model, {seconds} s"):
        await rush(target, users=USERS, seconds=1)  # Warms up.
        with stage.watching_others():
            result = await rush(target, users=USERS, seconds=seconds)
    stage.console.print(f"{name:12} {len(result.turns) / result.seconds:.0f} turns/s", highlight=False)
    return result


def _rush_cells(result: Result) -> tuple[str, ...]:
    times = f"{result.total_ms(0.5):.1f}", f"{result.total_ms(0.95):.1f}"
    return f"{len(result.turns) / result.seconds:.0f}", *times, str(len(result.errors))
