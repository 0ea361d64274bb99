"""`rugpt migrate`: the schema of this release, or what it would take to get there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from engine.cli.doctor.database import why
from engine.core.database import MIGRATIONS
from engine.core.embedded import OWNER, EmbeddedPostgres
from engine.core.errors import Unavailable
from engine.core.migrations import migrate, plan, read_migrations
from engine.core.settings import Settings


class DatabaseUnreachable(Unavailable):
    """The database server named by the settings cannot be reached, or lets us not in."""

    code = "database_unreachable"


async def migrate_database(settings: Settings, *, only_plan: bool) -> None:
    """Take the migrations that are missing, or only name them; an embedded database is started for it."""
    if only_plan and settings.database_url is None and not (settings.data_dir / "postgres").exists():
        _tell([migration.name for migration in read_migrations(MIGRATIONS)], only_plan=True)
        return
    async with owner_connection(settings) as connection:
        migrations = read_migrations(MIGRATIONS)
        if only_plan:
            _tell([migration.name for migration in await plan(connection, migrations)], only_plan=True)
        else:
            _tell(await migrate(connection, migrations), only_plan=False)


@asynccontextmanager
async def owner_connection(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Give the owner's connection to a database that need not be migrated."""
    if settings.database_url is not None:
        url = settings.database_owner_url or settings.database_url
        async with _connected(url.get_secret_value()) as connection:
            yield connection
        return
    embedded = EmbeddedPostgres(settings.data_dir / "postgres")
    await asyncio.to_thread(embedded.start)
    try:
        async with _connected(embedded.url(user=OWNER)) as connection:
            yield connection
    finally:
        await asyncio.to_thread(embedded.stop)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise DatabaseUnreachable(f"The database cannot be reached: {why(error)}") from error
    try:
        yield connection
    finally:
        await connection.close()


def _tell(names: list[str], *, only_plan: bool) -> None:
    if not names:
        print("Nothing to do: the schema is that of this release.")
        return
    print("Would run:" if only_plan else "Ran:")
    for name in names:
        print(f"  {name}")
