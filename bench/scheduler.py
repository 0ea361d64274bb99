"""Events over several schedulers, some of which are killed: `python -m bench.scheduler [--events N]`.

Prints how many events were missed, how many fired twice and how late they began, and writes it to RESULTS.md:
first of a thousand that are due in one second while nobody is killed, then of many with kills.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
from rich.console import Console
from rich.progress import Progress

from bench import report
from bench.figures import percentile
from bench.processes import ROOT
from bench.report import Section
from engine.bootstrap import PROMPTS, ROLES, make_bus
from engine.core.database import MIGRATIONS, Database
from engine.core.embedded import EmbeddedPostgres
from engine.core.feed import Feed
from engine.core.migrations import migrate, read_migrations
from engine.domains import chats, organizations
from engine.domains.calendar import Scheduler
from engine.domains.users import Actor
from engine.roles import load_roles

ORGANIZATIONS, CHATS = 10, 10  # of each organization
PROCESSES = 3
LEAD_SECONDS = 8.0  # from planning to the first event: the processes start meanwhile
KILL_EVERY_SECONDS = 2.0
PATIENCE_SECONDS = 120.0

# A tenth calls a role, the others are reminders: half of them in a chat, half for their owner alone.
PLAN = """
INSERT INTO calendar_events (org_id, owner_id, title, kind, starts_at, timezone, chat_id, role_code,
                             instruction, grace_seconds, next_nominal, next_at, uid)
SELECT $1, $2, 'Событие ' || n, 'one_time', due, 'Europe/Moscow',
       CASE WHEN n % 10 < 5 THEN ($3::uuid[])[1 + n / 10 % cardinality($3::uuid[])] END,
       CASE WHEN n % 10 = 0 THEN ($4::text[])[1 + n / 100 % cardinality($4::text[])] END,
       CASE WHEN n % 10 = 0 THEN 'Сверь' ELSE '' END, 3600, due, due, n || '@bench'
  FROM generate_series(0, $5::int - 1) AS n,
       LATERAL (SELECT $6::timestamptz + random() * $7::interval AS due) AS moment
"""
COUNT = """
SELECT (SELECT count(*) FROM calendar_events)::int AS planned,
       (SELECT count(DISTINCT event_id) FROM calendar_firings)::int AS fired,
       (SELECT count(*) FROM calendar_firings)::int AS firings,
       (SELECT count(*) FROM messages)::int AS messages,
       (SELECT count(*) FROM calendar_events WHERE chat_id IS NOT NULL)::int AS said,
       (SELECT count(*) FROM calendar_events WHERE status = 'active')::int AS waiting,
       (SELECT count(*) FROM runs)::int AS runs,
       (SELECT count(*) FROM calendar_events WHERE role_code IS NOT NULL)::int AS calls
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the events: a row of the table."""

    row: tuple[str, ...]
    is_sound: bool


async def work(url: str) -> None:
    """Be one of the engine's schedulers, until killed."""
    database = await Database.open(url, bus=make_bus(), feed=Feed())
    await Scheduler(database, load_roles(ROLES, PROMPTS)).run()


async def settle(database: Database) -> list[tuple[UUID, UUID, list[UUID]]]:
    """Make organizations with an owner and chats."""
    roles = load_roles(ROLES, PROMPTS)
    found = []
    for number in range(ORGANIZATIONS):
        async with database.as_organization(uuid4()) as tx:
            organization, user = await organizations.register(
                tx,
                name=f"Организация {number}",
                username="ann",
                email="ann@example.com",
                display_name="Анна",
                password_hash="none",
            )
            actor = Actor(organization.id, user.id, "admin")
            made = [
                await chats.create_chat(
                    tx, actor, title=f"Чат {each}", kind="group", members=[], roles=[], known_roles=roles
                )
                for each in range(CHATS)
            ]
        found.append((organization.id, user.id, [chat.id for chat in made]))
    return found


async def start_worker(url: str) -> asyncio.subprocess.Process:
    """Start a process with a scheduler."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.scheduler", "--work", url),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def kill_some(url: str, workers: list[asyncio.subprocess.Process], draw: random.Random) -> int:
    """Kill one of the processes, and start another, again and again until cancelled."""
    killed = 0
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(draw.uniform(0.5, 1.5) * KILL_EVERY_SECONDS)
            place = draw.randrange(len(workers))
            workers[place].kill()
            await workers[place].wait()
            workers[place] = await start_worker(url)
            killed += 1
    return killed


async def measure(
    console: Console, *, events: int, window: float, seed: int, kills: bool, folder: Path
) -> Found:
    """Plan, let it happen, and return what became of it."""
    server = EmbeddedPostgres(folder / "postgres")
    await asyncio.to_thread(server.start)
    owner = await asyncpg.connect(server.url(user="postgres"))
    await migrate(owner, read_migrations(MIGRATIONS))
    url = server.url(user="rugpt_app")
    database = await Database.open(url, bus=make_bus(), feed=Feed())
    first = await owner.fetchval("SELECT now() + $1::interval", timedelta(seconds=LEAD_SECONDS))
    codes = [role.code for role in load_roles(ROLES, PROMPTS).all() if role.agent_type == "simple"]
    for org_id, user_id, chat_ids in await settle(database):
        share = events // ORGANIZATIONS
        await owner.execute(PLAN, org_id, user_id, chat_ids, codes, share, first, timedelta(seconds=window))
    await database.close()
    workers = [await start_worker(url) for _ in range(PROCESSES)]
    draw = random.Random(seed)
    killing = asyncio.create_task(kill_some(url, workers, draw)) if kills else None
    deadline = time.monotonic() + LEAD_SECONDS + window + PATIENCE_SECONDS
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("events fired", total=events)
        while time.monotonic() < deadline:
            row = await owner.fetchrow(COUNT)
            assert row is not None
            progress.update(bar, completed=row["fired"])
            if row["waiting"] == 0:
                break
            await asyncio.sleep(0.5)
    killed = 0
    if killing is not None:
        killing.cancel()
        killed = await killing
    await asyncio.sleep(1)
    for worker in workers:
        worker.kill()
        await worker.wait()
    row = await owner.fetchrow(COUNT)
    assert row is not None
    late = [
        each["late"]
        for each in await owner.fetch(
            "SELECT extract(epoch FROM fired_at - due_at)::float8 AS late FROM calendar_firings"
        )
    ]
    await owner.close()
    await asyncio.to_thread(server.stop)
    missed = row["planned"] - row["fired"]
    doubled = (
        row["firings"]
        - row["fired"]
        + max(0, row["messages"] - row["said"])
        + max(0, row["runs"] - row["calls"])
    )
    return Found(
        (
            f"{row['planned']} in {window:g} s",
            str(killed),
            str(missed),
            str(doubled),
            *(f"{percentile(late, share):.2f}" for share in (0.5, 0.99, 1.0)),
        ),
        is_sound=missed == 0 and doubled == 0,
    )


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--window", type=float, default=60.0, help="seconds in which they are due")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--no-write", action="store_true", help="only print, leave bench/RESULTS.md as it is")
    parser.add_argument("--work", metavar="URL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        asyncio.run(work(asked.work))
        return 0
    console = Console()
    found = []
    for events, window, kills in ((1000, 1.0, False), (asked.events, asked.window, True)):
        with tempfile.TemporaryDirectory(prefix="rugpt-bench-", ignore_cleanup_errors=True) as folder:
            measuring = measure(
                console, events=events, window=window, seed=asked.seed, kills=kills, folder=Path(folder)
            )
            found.append(asyncio.run(measuring))
    section = Section(
        "scheduler",
        "Events that are due",
        ("events", "killed", "missed", "doubled", "start delay p50, s", "p99, s", "longest, s"),
        tuple(one.row for one in found),
        (
            f"{PROCESSES} schedulers, each a process; seed {asked.seed}. A tenth of the events calls a role.",
            "Goal: 0 missed, 0 doubled, and p99 ≤ 2 s of 1,000 that are due in one second.",
        ),
    )
    section.show(console)
    if not asked.no_write:
        report.write([section], [], 0.0, program="python -m bench.scheduler")
    return 0 if all(one.is_sound for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
