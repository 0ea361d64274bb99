"""A database that is frozen, or full, is away; nobody waits for it long, and nobody is told of a bug."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
import pytest

from engine.core.database import MIGRATIONS, Database, DatabaseAway, Transaction
from engine.core.errors import Conflict
from engine.core.migrations import read_migrations
from engine.core.sql import Statement

BACKEND = Statement("backend", "SELECT pg_backend_pid() AS pid", (), "")
NAP = Statement("nap", "SELECT pg_sleep(0)", (), "")


async def frozen_backend(database: Database) -> int:
    """Stop the process of the pool's only connection; return its number."""
    async with database.as_organization(uuid4()) as tx:
        process: int = (await tx.one(BACKEND))["pid"]
    os.kill(process, signal.SIGSTOP)
    return process


async def freeze_and(database: Database, act: Callable[[Transaction], Awaitable[None]]) -> None:
    """Do something in a transaction whose server stands still, until that is over."""
    process = 0
    try:
        async with database.as_organization(uuid4()) as tx:
            process = (await tx.one(BACKEND))["pid"]
            os.kill(process, signal.SIGSTOP)
            await act(tx)
    finally:
        os.kill(process, signal.SIGCONT)


async def test_a_frozen_database_is_away_before_anything_was_asked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.core.database.BEGIN_SECONDS", 0.5)
    monkeypatch.setattr("engine.core.database.RELEASE_SECONDS", 0.5)
    process = await frozen_backend(database)
    began = time.monotonic()
    try:
        with pytest.raises(DatabaseAway):
            async with database.as_organization(uuid4()):
                pytest.fail("it began nevertheless")
    finally:
        os.kill(process, signal.SIGCONT)

    assert time.monotonic() - began < 3
    async with database.as_organization(uuid4()) as tx:
        assert (await tx.one(BACKEND))["pid"] > 0


async def test_a_database_that_freezes_in_the_middle_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.core.database.RELEASE_SECONDS", 0.5)
    began = time.monotonic()

    async def wait_in_vain(tx: Transaction) -> None:
        async with asyncio.timeout(0.5):
            await tx.one(NAP)

    with pytest.raises(DatabaseAway):
        await freeze_and(database, wait_in_vain)

    assert time.monotonic() - began < 5


async def test_a_refusal_is_heard_though_the_database_froze(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.core.database.RELEASE_SECONDS", 0.5)

    async def refuse(_: Transaction) -> None:
        raise Conflict("It is closed.")

    with pytest.raises(Conflict):
        await freeze_and(database, refuse)


@pytest.mark.parametrize("error", [asyncpg.DiskFullError, asyncpg.OutOfMemoryError])
async def test_a_database_without_room_is_away(database: Database, error: type[Exception]) -> None:
    with pytest.raises(DatabaseAway):
        async with database.as_organization(uuid4()):
            raise error("could not extend file")


async def test_the_application_sees_which_migrations_were_applied(database: Database) -> None:
    assert await database.applied_migrations() == {
        migration.name: migration.checksum for migration in read_migrations(MIGRATIONS)
    }
