"""The event log of an organization: numbered without gaps, in the order in which it becomes visible."""

import asyncio
import random
from contextlib import suppress
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.core.database import Database, events_after, last_event_no, oldest_event_no
from engine.core.events import Announced
from engine.core.sql import parse
from tests.world import World

WRITE_A_KILOBYTE = parse(
    """-- name: write
SELECT pg_current_wal_insert_lsn()::text AS lsn FROM pg_logical_emit_message(true, 'test', repeat('x', 1024));
"""
)["write"]


async def test_fifty_transactions_at_once_some_undone_leave_no_gap_and_no_stray(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    async with database.as_organization(firm.id) as tx:
        before = await last_event_no(tx)
    heard: list[Announced] = []
    database.feed.on(Announced, heard.append)
    dice = random.Random(7)
    sizes = [dice.randrange(1, 5) for _ in range(50)]

    async def announce(number: int) -> None:
        async with database.as_organization(firm.id) as tx:
            for place in range(sizes[number]):
                tx.announce(firm.id, "test.said", {"by": number, "place": place})
            await asyncio.sleep(dice.random() / 100)
            if number % 5 == 0:
                raise ZeroDivisionError

    outcomes = await asyncio.gather(*(announce(number) for number in range(50)), return_exceptions=True)

    async with database.as_organization(firm.id) as tx:
        rows = await events_after(tx, after=before, channels=None, limit=1000)
        last = await last_event_no(tx)
    assert sum(isinstance(outcome, ZeroDivisionError) for outcome in outcomes) == 10
    assert [row["no"] for row in rows] == list(range(before + 1, last + 1))
    by_writer: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        by_writer.setdefault(row["data"]["by"], []).append((row["no"], row["data"]["place"]))
    assert sorted(by_writer) == [number for number in range(50) if number % 5]
    for number, lines in by_writer.items():
        assert [place for _, place in lines] == list(range(sizes[number]))
        assert lines[-1][0] - lines[0][0] == sizes[number] - 1, "a transaction's lines stand together"
    assert sorted(item.no for item in heard) == [row["no"] for row in rows]


async def test_what_is_heard_of_is_on_disk(world: World, database: Database, database_url: str) -> None:
    firm = await world.organization()
    owner = await asyncpg.connect(database_url)
    for _ in range(20):
        async with database.as_organization(firm.id) as tx:
            tx.announce(firm.id, "test.said", {})
            written = (await tx.one(WRITE_A_KILOBYTE))["lsn"]

        assert await owner.fetchval("SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn", written)
    await owner.close()


async def test_numbers_become_visible_in_their_order(world: World, database: Database) -> None:
    firm = await world.organization()
    is_over = False

    async def write() -> None:
        for _ in range(40):
            async with database.as_organization(firm.id) as tx:
                tx.announce(firm.id, "test.said", {})

    async def watch() -> None:
        seen = 0
        while not is_over:
            async with database.as_organization(firm.id) as tx:
                rows = await events_after(tx, after=seen, channels=None, limit=1000)
            if rows:
                assert [row["no"] for row in rows] == list(range(seen + 1, rows[-1]["no"] + 1))
                seen = rows[-1]["no"]

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write() for _ in range(4)))
    is_over = True
    await watching


async def test_what_is_undone_is_neither_logged_nor_heard(world: World, database: Database) -> None:
    firm = await world.organization()
    heard: list[object] = []
    database.feed.on(Announced, heard.append)
    database.feed.on(str, heard.append)

    async def announce_and_fail() -> None:
        async with database.as_organization(firm.id) as tx:
            tx.announce(firm.id, "test.said", {})
            tx.after_commit("to the feed")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await announce_and_fail()

    assert heard == []


async def test_two_organizations_count_for_themselves(world: World, database: Database) -> None:
    first, second = await world.organization("Первая"), await world.organization("Вторая")
    numbers = []
    for firm in (first, second, first):
        async with database.as_organization(firm.id) as tx:
            before = await last_event_no(tx)
            tx.announce(firm.id, "test.said", {"firm": firm.id})
        async with database.as_organization(firm.id) as tx:
            (row,) = await events_after(tx, after=before, channels=[firm.id], limit=10)
            numbers.append(row["no"] - before)
            assert row["data"] == {"firm": str(firm.id)}

    assert numbers == [1, 1, 1]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
@example(text="'); DROP TABLE events; --")
@example(text="\\'\\\\''\n$$ :name ?")
async def test_what_is_announced_is_data_whatever_it_says(
    world: World, database: Database, text: str
) -> None:
    firm = await world.organization()
    async with database.as_organization(firm.id) as tx:
        before = await last_event_no(tx)
        tx.announce(firm.id, text, {text: text})

    async with database.as_organization(firm.id) as tx:
        (row,) = await events_after(tx, after=before, channels=None, limit=10)

    assert (row["kind"], row["data"]) == (text, {text: text})


async def test_what_need_not_wait_for_the_disk_is_heard_first_and_never_of_what_failed(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    heard: list[object] = []
    for kind in (str, Announced):
        database.feed.on(kind, lambda item: heard.append(getattr(item, "no", item)))

    with suppress(ZeroDivisionError):
        async with database.as_organization(firm.id) as tx:
            tx.after_commit("undone", on_disk=False)
            raise ZeroDivisionError
    async with database.as_organization(firm.id) as tx:
        tx.announce(firm.id, "test.said", {})
        tx.after_commit("on disk")
        with suppress(ZeroDivisionError):
            async with tx.attempt():
                tx.after_commit("taken back", on_disk=False)
                raise ZeroDivisionError
        tx.after_commit("at once", on_disk=False)
        no = await last_event_no(tx) + 1

    assert heard == ["at once", "on disk", no]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.integers(0, 2), max_size=12), after=st.integers(-1, 14), limit=st.integers(1, 14))
async def test_a_page_of_the_log_is_what_was_said_on_ones_channels(
    world: World, database: Database, lines: list[int], after: int, limit: int
) -> None:
    firm = await world.organization()
    channels = [uuid4(), uuid4(), uuid4()]
    async with database.as_organization(firm.id) as tx:
        before = await last_event_no(tx)
        for place, channel in enumerate(lines, 1):
            tx.announce(channels[channel], "test.said", {"place": place})

    async with database.as_organization(firm.id) as tx:
        page = await events_after(tx, after=before + after, channels=channels[:2], limit=limit)
        oldest = await oldest_event_no(tx)

    wanted = [place for place, channel in enumerate(lines, 1) if channel < 2 and place > after]
    assert [row["data"]["place"] for row in page] == wanted[:limit]
    assert oldest in (None, 1)
