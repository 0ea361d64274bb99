"""Migrations: each once, in order, by one process at a time, and never a changed or unknown one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from engine.core.database import MIGRATIONS
from engine.core.embedded import EmbeddedPostgres
from engine.core.migrations import (
    Migration,
    MigrationChanged,
    MigrationsBusy,
    MigrationUnknown,
    migrate,
    plan,
    read_migrations,
)

FIRST = Migration("0001_pre_one.sql", "CREATE TABLE one (n int); INSERT INTO one VALUES (1);")
SECOND = Migration("0002_pre_two.sql", "CREATE TABLE two (n int); INSERT INTO one VALUES (2);")
BROKEN = Migration("0003_pre_three.sql", "CREATE TABLE three (n int); SELECT nonsense;")


@pytest.fixture
async def empty_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The owner's way to a database that nothing was done to."""
    name = f"empty_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url(user="postgres", database="postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.url(user="postgres", database=name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def connection(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(empty_url)
    yield opened
    await opened.close()


async def names_of(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch("SELECT name FROM schema_migrations ORDER BY applied_at, name")
    return [row["name"] for row in rows]


async def test_what_is_missing_is_taken_once_and_in_order(connection: asyncpg.Connection) -> None:
    said: list[str] = []

    assert await plan(connection, [FIRST, SECOND]) == [FIRST, SECOND]
    assert await migrate(connection, [FIRST], say=said.append) == [FIRST.name]
    assert await plan(connection, [FIRST, SECOND]) == [SECOND]
    assert await migrate(connection, [FIRST, SECOND], say=said.append) == [SECOND.name]
    assert await migrate(connection, [FIRST, SECOND], say=said.append) == []

    assert await names_of(connection) == [FIRST.name, SECOND.name]
    assert said == [f"migrating: {FIRST.name}", f"migrating: {SECOND.name}"]
    assert await connection.fetchval("SELECT array_agg(n ORDER BY n) FROM one") == [1, 2]


async def test_planning_changes_nothing(connection: asyncpg.Connection) -> None:
    await plan(connection, [FIRST])

    assert (
        await connection.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        == 0
    )


async def test_a_file_that_was_changed_after_it_was_applied_is_an_error_that_says_so(
    connection: asyncpg.Connection,
) -> None:
    await migrate(connection, [FIRST])
    changed = Migration(FIRST.name, FIRST.sql + " -- a better comment")

    for attempt in (plan(connection, [changed, SECOND]), migrate(connection, [changed, SECOND])):
        with pytest.raises(MigrationChanged, match=FIRST.name) as refused:
            await attempt
        assert refused.value.details == {"migration": FIRST.name}
    assert await names_of(connection) == [FIRST.name]


async def test_a_database_of_a_newer_release_is_an_error_that_says_so(connection: asyncpg.Connection) -> None:
    await migrate(connection, [FIRST, SECOND])

    for attempt in (plan(connection, [FIRST]), migrate(connection, [FIRST])):
        with pytest.raises(MigrationUnknown, match=SECOND.name):
            await attempt


async def test_a_migration_that_fails_leaves_nothing_of_itself_and_all_of_those_before(
    connection: asyncpg.Connection,
) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        await migrate(connection, [FIRST, BROKEN])

    assert await names_of(connection) == [FIRST.name]
    assert await connection.fetchval("SELECT to_regclass('three')") is None
    assert await migrate(connection, [FIRST, SECOND]) == [SECOND.name]  # The lock was given back.


async def test_processes_that_migrate_at_once_take_turns(empty_url: str) -> None:
    steps = [FIRST, Migration(SECOND.name, f"SELECT pg_sleep(0.2); {SECOND.sql}")]

    async def start() -> list[str]:
        connection = await asyncpg.connect(empty_url)
        try:
            return await migrate(connection, steps)
        finally:
            await connection.close()

    taken = await asyncio.gather(*(start() for _ in range(5)))

    assert sorted(taken) == [[], [], [], [], [FIRST.name, SECOND.name]]


async def test_the_migrations_of_this_release_apply_to_an_empty_database_by_two_processes_at_once(
    empty_url: str,
) -> None:
    migrations = read_migrations(MIGRATIONS)

    async def start() -> list[str]:
        connection = await asyncpg.connect(empty_url)
        try:
            return await migrate(connection, migrations)
        finally:
            await connection.close()

    taken = await asyncio.gather(start(), start())

    assert sorted(taken, key=len) == [[], [migration.name for migration in migrations]]


async def test_a_checksum_is_of_the_text_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "0002_pre_b.sql").write_text("SELECT 2; -- ё", encoding="utf-8")
    (tmp_path / "0001_pre_a.sql").write_text("SELECT 1;", encoding="utf-8")
    (tmp_path / "schema.sql").write_text("nobody runs this", encoding="utf-8")
    (tmp_path / "01_short.sql").write_text("nor this", encoding="utf-8")

    first, second = read_migrations(tmp_path)

    assert (first.name, second.name) == ("0001_pre_a.sql", "0002_pre_b.sql")
    assert first.checksum == Migration("elsewhere", "SELECT 1;").checksum
    assert first.checksum != Migration(first.name, "SELECT 1; ").checksum
    assert len(second.checksum) == 64


async def test_a_turn_that_does_not_come_is_told_and_given_up(
    connection: asyncpg.Connection, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.core.migrations.SAY_SECONDS", 0.1)
    monkeypatch.setattr("engine.core.migrations.TURN_SECONDS", 0.5)
    said: list[str] = []
    other = await asyncpg.connect(empty_url)
    try:
        await other.execute("SELECT pg_advisory_lock(7265078)")

        with pytest.raises(MigrationsBusy):
            await migrate(connection, [FIRST], say=said.append)
    finally:
        await other.close()

    assert said == ["waiting: another process migrates this database"]
    assert await migrate(connection, [FIRST]) == [FIRST.name]


async def test_in_a_database_that_was_just_made_a_row_is_looked_for_by_its_key(
    connection: asyncpg.Connection,
) -> None:
    await migrate(connection, read_migrations(MIGRATIONS))
    keyed = [
        row["name"]
        for row in await connection.fetch(
            """SELECT conrelid::regclass::text AS name FROM pg_constraint
                WHERE contype = 'p' AND pg_get_constraintdef(oid) = 'PRIMARY KEY (org_id, id)'"""
        )
    ]
    await connection.execute("SET plan_cache_mode = force_generic_plan; SET random_page_cost = 1.1")

    plans = {}
    for name in keyed:
        await connection.execute(f"PREPARE one AS SELECT FROM {name} WHERE org_id = $1 AND id = $2")
        plans[name] = "\n".join(row[0] for row in await connection.fetch("EXPLAIN EXECUTE one (NULL, NULL)"))
        await connection.execute("DEALLOCATE one")

    assert {"runs", "messages", "chats", "users"} <= set(keyed)
    by_key = "Index Cond: ((org_id = $1) AND (id = $2))"
    assert [name for name, plan in plans.items() if f"{name}_pkey" not in plan or by_key not in plan] == []
