"""Ask roles while everything dies; prints what was lost or doubled, and how soon somebody took over."""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence

import uvloop
from rich.console import Console

from bench import report
from bench.chaos.crowd import Crowd
from bench.chaos.monkey import ROUND, Monkey
from bench.chaos.stage import set_stage
from bench.chaos.verdict import Verdict, judge, until_quiet
from bench.figures import percentile
from bench.report import Section

QUIET_SECONDS = 120.0


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench chaos", description=__doc__)
    add = parser.add_argument
    add("--messages", type=int, default=2000, help="how many questions are asked")
    add("--per-second", type=float, default=4, help="how many of them are asked in a second")
    add("--seed", type=int, default=random.randrange(10**6), help="repeats the same trouble")
    add("--workers", type=int, default=2, help="worker actors, at least")
    add("--seconds", type=float, default=900, help="no new trouble after so long")
    add("--write", action="store_true", help="keep the figures in bench/RESULTS.md")
    return parser.parse_args(arguments)


async def play(
    console: Console, *, messages: int, per_second: float, seed: int, workers: int, seconds: float
) -> tuple[Verdict, Monkey, Crowd, float]:
    """Play it, and wait until every run has ended."""
    chance = random.Random(seed)
    async with set_stage(workers) as stage:
        await stage.register()
        crowd = Crowd(stage, random.Random(chance.random()), messages, per_second)
        chats = await crowd.open_chats()
        monkey = Monkey(stage, random.Random(chance.random()))
        began = time.monotonic()
        trouble = asyncio.create_task(monkey.run())
        asking = asyncio.create_task(crowd.ask_all(chats))
        try:
            await asyncio.wait([asking, trouble], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            trouble.cancel()
            await asyncio.gather(trouble, return_exceptions=True)
            await monkey.end()
        await asyncio.to_thread(
            stage.database.start_again
        )  # The trouble may have ended in the middle of one.
        if stage.engine is None or stage.engine.process.returncode is not None:
            await stage.start_engine()
        await asking
        if not await until_quiet(stage.owner_url, seconds=QUIET_SECONDS):
            console.print("Some runs did not end.", style="red")
        took = time.monotonic() - began
        return await judge(stage.owner_url, crowd.heard, monkey.losses), monkey, crowd, took


def section(verdict: Verdict, monkey: Monkey, crowd: Crowd, seconds: float, seed: int) -> Section:
    """Return what was found as a table."""
    rows = (
        ("questions that were acknowledged", str(verdict.kept)),
        ("answered exactly once", str(verdict.answered)),
        ("lost", str(verdict.lost)),
        ("doubled", str(verdict.doubled)),
        ("takeover from a killed worker", _seconds(verdict.of_one)),
        ("takeover when all of Ray was killed", _seconds(verdict.of_all)),
    )
    troubles = ", ".join(f"{_words(name)} {count}" for name, count in monkey.done.most_common())
    missing = ", ".join(_words(name) for name in ROUND if not monkey.done[name])
    load = os.getloadavg()[1]
    notes = (
        f"In the last five minutes {load:.0f} processes wanted to run at once on {os.cpu_count()} cores.",
        f"Seed {seed}; {seconds:.0f} s. Trouble: {troubles or 'none'}.",
        "One came every 1.5 to 6 s, so a takeover may have been hit by the next one, and taken longer.",
        *((f"It was too short to {missing}.",) if missing else ()),
        *((f"Not completed: {verdict.reasons}.",) if verdict.reasons else ()),
        *((f"Never acknowledged: {crowd.given_up}.",) if crowd.given_up else ()),
    )
    return Section("chaos", "Killed and stopped at random", ("", ""), rows, notes)


def _words(trouble: str) -> str:
    return trouble.replace("_", " ")


def _seconds(takeovers: Sequence[float]) -> str:
    if not takeovers:
        return "none"
    p50, p95 = percentile(takeovers, 0.5), percentile(takeovers, 0.95)
    return f"p50 {p50:.1f} s, p95 {p95:.1f} s, at most {max(takeovers):.1f} s, {len(takeovers)} times"


def main() -> int:
    asked = read_arguments()
    console = Console()
    console.print(f"seed {asked.seed}", highlight=False)
    verdict, monkey, crowd, seconds = uvloop.run(
        play(
            console,
            messages=asked.messages,
            per_second=asked.per_second,
            seed=asked.seed,
            workers=asked.workers,
            seconds=asked.seconds,
        )
    )
    found = section(verdict, monkey, crowd, seconds, asked.seed)
    found.show(console)
    if asked.write:
        given = {"messages": asked.messages, "per-second": asked.per_second, "seed": asked.seed}
        arguments = [f"--{name} {value}" for name, value in given.items()]
        report.write([found], arguments, 0.0, program="scripts/bench chaos")
    return 0 if verdict.lost == verdict.doubled == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
