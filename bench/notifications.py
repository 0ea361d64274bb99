"""Measure how fast people are told: letters to a local SMTP server, messages to a Bot API within its limits.

    .venv/bin/python -m bench.notifications          # prints the table and keeps it in bench/RESULTS.md
    .venv/bin/python -m bench.notifications --quick  # fewer of everything; RESULTS.md stays as it is

Engine, senders and the other side share one process here; PostgreSQL is the embedded one, with its waits for
the disk.
"""

import argparse
import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time

import asyncpg
import structlog
from rich.console import Console

from bench import report
from bench.figures import percentile
from bench.report import Section
from engine.adapters.mail import LetterWriter, MailCourier, SmtpMailbox, read_smtp_url
from engine.adapters.telegram import TelegramBot
from engine.bootstrap import make_bus
from engine.core.database import MIGRATIONS, Database
from engine.core.embedded import EmbeddedPostgres
from engine.core.feed import Feed
from engine.core.migrations import migrate, read_migrations
from engine.domains import notifications
from engine.domains.notifications import Office
from engine.postman import Postman, Telegraph
from tests.postal import SEAL, hurry
from tests.telegram_api import TOKEN, BotApi, bot_api
from tests.world import Person, World

PEOPLE = 50


class Sink:
    """An SMTP server that takes everything and notes when."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink ESMTP\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                self.taken.append(perf_counter())
            writer.write(b"250 ok\r\n")
            if line.upper().startswith(b"QUIT"):
                break
        writer.close()


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[tuple[Database, World, list[Person]]]:
    """Give a database of its own with an organization of some people."""
    server = EmbeddedPostgres(folder / "postgres")
    await asyncio.to_thread(server.start)
    owner = await asyncpg.connect(server.url(user="postgres"))
    await migrate(owner, read_migrations(MIGRATIONS))
    await owner.close()
    database = await Database.open(server.url(user="rugpt_app"), bus=make_bus(), feed=Feed(), pool_size=10)
    try:
        world = World(database)
        firm = await world.organization()
        yield database, world, [firm.admin, *[await world.user(firm) for _ in range(PEOPLE - 1)]]
    finally:
        await database.close()
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def at_work(*parts: Postman | Telegraph) -> AsyncIterator[None]:
    """Let the post work while the block runs."""
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_there_are(things: list[float], count: int, *, seconds: float) -> None:
    """Wait for so many things."""
    async with asyncio.timeout(seconds):
        while True:
            if len(things) >= count:
                return
            await asyncio.sleep(0.005)


async def queue(database: Database, people: list[Person], office: Office, kind: str, count: int) -> None:
    """Let so many test messages wait, spread over people."""
    for place in range(count):
        person = people[place % len(people)]
        async with database.as_organization(person.org_id) as tx:
            mine = await notifications.list_channels(tx, person.actor)
            channel = next(each for each in mine if each.kind == kind)
            await notifications.send_test(tx, person.actor, office=office, channel_id=channel.id)


async def measure_mail(
    database: Database, world: World, people: list[Person], *, count: int, single: int
) -> list[tuple[str, str]]:
    """Measure letters: many that wait, and single ones from their cause to the server."""
    sink = Sink()
    server = await asyncio.start_server(sink.talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    office = Office(SEAL, frozenset({"in_app", "email"}), "https://rugpt.example")

    def courier() -> MailCourier:
        mailbox = SmtpMailbox(read_smtp_url(f"smtp://127.0.0.1:{port}?tls=none"))
        return MailCourier(LetterWriter(office, mail_from="rugpt@example.com"), mailbox)

    await queue(database, people, office, "email", count)
    began, spent = perf_counter(), process_time()
    async with at_work(Postman(database, office, [courier()])):
        await until_there_are(sink.taken, count, seconds=600)
    per_second = count / (sink.taken[count - 1] - began)
    milliseconds = (process_time() - spent) / count * 1000

    ann, *others = people
    chat_id = await world.chat(ann, *others)
    delays = []
    async with at_work(Postman(database, office, [courier()])):
        for person in others[:single]:
            await hurry(database, person)
            before = len(sink.taken)
            posted_at = perf_counter()
            await world.post(ann, chat_id, f"@{person.username}, посмотрите")
            await until_there_are(sink.taken, before + 1, seconds=20)
            delays.append((sink.taken[before] - posted_at) * 1000)
    server.close()
    return [
        (f"letters a second, {count} waiting", f"{per_second:.0f}"),
        ("processor time of a letter, the sink's included and PostgreSQL's not, ms", f"{milliseconds:.1f}"),
        (
            "from a message to its letter at the server, p50 / p95, ms",
            f"{percentile(delays, 0.5):.0f} / {percentile(delays, 0.95):.0f}",
        ),
    ]


async def measure_telegram(
    database: Database, people: list[Person], api: BotApi, *, count: int
) -> list[tuple[str, str]]:
    """Measure messages to many chats, within what Telegram allows."""
    office = Office(SEAL, frozenset({"in_app", "telegram"}), telegram_token=TOKEN)
    for number, person in enumerate(people):
        async with database.as_organization(person.org_id) as tx:
            added = await notifications.add_channel(tx, person.actor, office=office, kind="telegram")
            assert added.code is not None
            await notifications.bind_chat(tx, code=added.code, address=str(1000 + number))
        api.started.add(1000 + number)
    await queue(database, people, office, "telegram", count)
    async with at_work(Telegraph(database, office, TelegramBot(TOKEN, api_url=api.url))):
        async with asyncio.timeout(600):
            while True:
                if len(api.sent) >= count:
                    break
                await asyncio.sleep(0.005)
    moments = sorted(sent.at for sent in api.sent)
    most = max(sum(start <= moment < start + 1 for moment in moments) for start in moments)
    by_chat: dict[int, list[float]] = {}
    for sent in api.sent:
        by_chat.setdefault(sent.chat_id, []).append(sent.at)
    gaps = [later - earlier for times in by_chat.values() for earlier, later in pairwise(sorted(times))]
    return [
        (
            f"messages a second, {count} to {len(people)} chats",
            f"{(count - 1) / (moments[-1] - moments[0]):.1f}",
        ),
        ("most within one second (Telegram allows 30)", str(most)),
        ("shortest time between two to one chat, s (Telegram allows 1)", f"{min(gaps):.2f}"),
    ]


async def measure(*, quick: bool) -> Section:
    """Measure both ways out of the building."""
    with tempfile.TemporaryDirectory(prefix="rugpt-bench-") as folder:
        async with town(Path(folder)) as (database, world, people), bot_api() as api:
            rows = await measure_mail(
                database, world, people, count=100 if quick else 2000, single=10 if quick else 40
            )
            rows += await measure_telegram(database, people, api, count=100 if quick else 500)
    return Section(
        "notifications",
        "Telling people",
        ("what", "measured"),
        tuple(rows),
        (
            "One process with the senders, the SMTP sink and the Bot API; 8 letters on their way at once.",
            f"Load average at the end: {os.getloadavg()[0]:.1f}; what else runs slows this down.",
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer of everything; RESULTS.md stays as it is")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    section = asyncio.run(measure(quick=asked.quick))
    section.show(Console())
    if not asked.quick:
        report.write([section], [], 0.0, program="python -m bench.notifications")


if __name__ == "__main__":
    main()
