"""The database: whether it is there, current, fenced, and of the same time as this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg

from engine.cli.doctor.configuration import shown
from engine.cli.doctor.findings import Finding, missing, note, ok
from engine.core.database import APPLICATION_ROLE, MIGRATIONS
from engine.core.embedded import EmbeddedPostgres
from engine.core.errors import Refusal
from engine.core.migrations import plan, read_migrations
from engine.core.settings import Settings

OLDEST_VERSION = 15
MOST_SECONDS_APART = 2.0
CONNECT_SECONDS = 5
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)


async def look_at_database(settings: Settings, *, start: bool) -> list[Finding]:
    """Find out about the embedded database, or about the server that is used instead of it."""
    if settings.database_url is not None:
        return await _look_at_server(settings.database_url.get_secret_value())
    folder = settings.data_dir / "postgres"
    if not (folder / "PG_VERSION").exists():
        return [note("database", f"embedded, not made yet: the first start makes it in {folder}")]
    embedded = EmbeddedPostgres(folder)
    url = embedded.url(user=APPLICATION_ROLE)
    if start:
        async with _started(embedded):
            return await _look_inside(url, "embedded")
    try:
        return await _look_inside(url, "embedded, running")
    except _AWAY:
        return [note("database", "embedded, stopped: the engine starts it (doctor --start looks inside)")]


async def _look_at_server(url: str) -> list[Finding]:
    try:
        return await _look_inside(url, "server of RUGPT_DATABASE_URL")
    except _AWAY as error:
        return [missing("database", f"the server of RUGPT_DATABASE_URL cannot be reached: {why(error)}")]


async def _look_inside(url: str, which: str) -> list[Finding]:
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        return [
            _version(connection, which),
            await _schema(connection),
            await _fence(connection),
            await _clock(connection),
        ]
    finally:
        await connection.close()


def why(error: Exception) -> str:
    """Return an error of the driver in a line, without the password that an address in it may hold."""
    return shown(" ".join(str(error).split()) or type(error).__name__)


def _version(connection: asyncpg.Connection, which: str) -> Finding:
    version = connection.get_server_version()
    text = f"{which}, PostgreSQL {version.major}.{version.minor}"
    if version.major < OLDEST_VERSION:
        return missing("database", f"{text}: it must be {OLDEST_VERSION} or newer")
    return ok("database", text)


async def _schema(connection: asyncpg.Connection) -> Finding:
    try:
        behind = await plan(connection, read_migrations(MIGRATIONS))
    except Refusal as refusal:
        return missing("schema", refusal.message)
    except asyncpg.InsufficientPrivilegeError:
        return missing("schema", "the application may not read schema_migrations: run rugpt migrate")
    if behind:
        names = ", ".join(migration.name for migration in behind)
        return note("schema", f"behind by {names}: the next start, or rugpt migrate, brings it up to date")
    return ok("schema", "that of this release")


async def _fence(connection: asyncpg.Connection) -> Finding:
    """Find out as which role the engine works, and whether row-level security holds for it."""
    role = await connection.fetchrow(
        "SELECT rolsuper OR rolbypassrls AS bypasses FROM pg_roles WHERE rolname = $1", APPLICATION_ROLE
    )
    if role is None:
        return note("fence", f"the role {APPLICATION_ROLE} does not exist yet: rugpt migrate makes it")
    owned = await connection.fetchval(
        "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relowner = $1::text::regrole",
        APPLICATION_ROLE,
    )
    loose = await connection.fetchval(
        "SELECT string_agg(c.relname, ', ') FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
        " AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
    )
    if role["bypasses"]:
        return missing("fence", f"{APPLICATION_ROLE} can bypass row-level security: "
                                f"ALTER ROLE {APPLICATION_ROLE} NOSUPERUSER NOBYPASSRLS")  # fmt: skip
    if owned:
        return missing("fence", f"{APPLICATION_ROLE} owns {owned} tables; it must own none")
    if loose:
        return missing("fence", f"without row-level security: {loose}")
    try:
        await connection.execute(f"SET ROLE {APPLICATION_ROLE}")
    except asyncpg.InsufficientPrivilegeError:
        return missing(
            "fence", f"this login may not become {APPLICATION_ROLE}: GRANT {APPLICATION_ROLE} TO it"
        )
    return ok("fence", f"{APPLICATION_ROLE} owns nothing and cannot bypass row-level security")


async def _clock(connection: asyncpg.Connection) -> Finding:
    before = datetime.now(UTC)
    there: datetime = await connection.fetchval("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    # The database was asked somewhere in between.
    apart = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    if apart > MOST_SECONDS_APART:
        return missing("clock", f"this machine and the database are {apart:.1f} s apart: set both by NTP")
    return ok("clock", f"{after:%Y-%m-%d %H:%M:%S} UTC, the database agrees")


@asynccontextmanager
async def _started(embedded: EmbeddedPostgres) -> AsyncIterator[None]:
    await asyncio.to_thread(embedded.start)
    try:
        yield
    finally:
        await asyncio.to_thread(embedded.stop)
