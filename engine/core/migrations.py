"""Brings a database to the schema that this code wants: plain SQL files, forward only."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import asyncpg

from engine.core.errors import Conflict, Unavailable

_LOCK = 7_265_078  # Any number, as long as it is always the same one.
TURN_SECONDS = 300.0
SAY_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


# Of a table that it has not analyzed, PostgreSQL takes every column for a good key. All indexes begin with
# the organization, so of a young table it picks any of them, and reads all rows of an organization to find
# one, for as long as a connection keeps the plan: until autovacuum has been there, a minute later. So it is
# told what is true of most installations, until it has looked for itself.
_ORGANIZATIONS_ARE_FEW = """
SELECT pg_restore_attribute_stats(
           'schemaname', 'public', 'relname', young.relname::text, 'attname', 'org_id', 'inherited', false,
           'null_frac', 0::real, 'avg_width', 16, 'n_distinct', 1::real)
  FROM pg_class young
  JOIN pg_attribute organization ON organization.attrelid = young.oid AND organization.attname = 'org_id'
 WHERE young.relkind = 'r' AND young.relnamespace = 'public'::regnamespace AND young.reltuples < 0
"""
_TAKES_STATISTICS = 18  # the first PostgreSQL that can be told


class MigrationChanged(Conflict):
    code = "migration_changed"


class MigrationUnknown(Conflict):
    code = "migration_unknown"


class MigrationsBusy(Unavailable):
    code = "migrations_busy"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path) -> list[Migration]:
    """Return the steps of a folder in their order."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(file.name, file.read_text(encoding="utf-8")) for file in files]


async def plan(connection: asyncpg.Connection, migrations: list[Migration]) -> list[Migration]:
    """Return the steps still to take.

    Raises MigrationChanged when a file that was applied reads differently now, and MigrationUnknown
    when the database has steps that this release does not know.
    """
    return still_to_take(await _applied(connection), migrations)


def still_to_take(applied: dict[str, str], migrations: list[Migration]) -> list[Migration]:
    """Return the steps whose names are not among the applied ones; raises what `plan` raises."""
    known = {migration.name: migration for migration in migrations}
    for name, checksum in applied.items():
        if name not in known:
            raise MigrationUnknown(
                f"The database has the migration {name}, which this release does not know. "
                "It was made by a newer release: start that one.",
                migration=name,
            )
        if known[name].checksum != checksum:
            raise MigrationChanged(
                f"The migration {name} was changed after it was applied. Restore the file as it was and "
                "put the change into a new migration.",
                migration=name,
            )
    return [migration for migration in migrations if migration.name not in applied]


async def migrate(
    connection: asyncpg.Connection,
    migrations: list[Migration],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Take every step that is missing, each in its own transaction; return their names.

    Several processes may do this at once: they take turns. Raises MigrationsBusy when a turn does not come.
    """
    await _take_turn(connection, say)
    try:
        await connection.execute("SET lock_timeout = '5s'")
        await connection.execute(_HISTORY)
        missing = await plan(connection, migrations)
        for migration in missing:
            say(f"migrating: {migration.name}")
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                    migration.name,
                    migration.checksum,
                )
        if missing and connection.get_server_version().major >= _TAKES_STATISTICS:
            with suppress(asyncpg.LockNotAvailableError):  # Somebody analyzes one just now.
                await connection.execute(_ORGANIZATIONS_ARE_FEW)
        return [migration.name for migration in missing]
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _take_turn(connection: asyncpg.Connection, say: Callable[[str], None]) -> None:
    began, has_said = monotonic(), False
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        waited = monotonic() - began
        if waited >= TURN_SECONDS:
            raise MigrationsBusy(
                f"Another process has been migrating this database for {TURN_SECONDS:.0f} seconds. "
                "See pg_locks (locktype advisory) for which one, and end it if it hangs."
            )
        if waited >= SAY_SECONDS and not has_said:
            say("waiting: another process migrates this database")
            has_said = True
        await asyncio.sleep(_LOOK_SECONDS)


async def _applied(connection: asyncpg.Connection) -> dict[str, str]:
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
    return {row["name"]: row["checksum"] for row in rows}
