"""One embedded PostgreSQL per test process, and a freshly cloned database per test."""

import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import settings

from engine.core.database import MIGRATIONS, Database
from engine.core.embedded import EmbeddedPostgres
from engine.core.events import Bus
from engine.core.feed import Feed
from engine.core.migrations import migrate, read_migrations

TEMPLATE = "rugpt"

# Under nohup or in the background these are ignored, and what tests start would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no bug: no example of a property test has a deadline.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server of this test process, without the waits for a disk that nobody will read after it."""
    with tempfile.TemporaryDirectory(prefix="rugpt-test-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(
            Path(folder) / "postgres", options={"fsync": "off", "full_page_writes": "off"}
        )
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
async def _migrated(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.url(user="postgres"))
    await migrate(connection, read_migrations(MIGRATIONS))
    await connection.close()


@asynccontextmanager
async def fresh_database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Make a migrated database, give its name, and drop it after the block."""
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url(user="postgres", database="postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield name
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def database_name(postgres: EmbeddedPostgres, _migrated: None) -> AsyncIterator[str]:
    """A migrated database of this test alone."""
    async with fresh_database(postgres) as name:
        yield name


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, database_name: str) -> str:
    """The owner's way to the test's database."""
    return postgres.url(user="postgres", database=database_name)


@pytest.fixture
def application_url(postgres: EmbeddedPostgres, database_name: str) -> str:
    """The way of the application role, which is how everything but migrations connects."""
    return postgres.url(user="rugpt_app", database=database_name)


@pytest.fixture
async def database(application_url: str) -> AsyncIterator[Database]:
    """The test's database, reached as production reaches it."""
    opened = await Database.open(application_url, bus=Bus(), feed=Feed(), pool_size=10)
    yield opened
    await opened.close()
