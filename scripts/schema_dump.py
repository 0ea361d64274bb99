"""The sum of all migrations, as PostgreSQL itself tells it."""

import asyncio
import re
import subprocess
import tempfile
from pathlib import Path

import asyncpg

from engine.core.database import MIGRATIONS
from engine.core.embedded import OWNER, EmbeddedPostgres, programs_folder
from engine.core.migrations import migrate, read_migrations

NOTE = "-- Written by scripts/docs: what all migrations make together. Read it; change it by a new migration."
# What pg_dump says of itself and for itself, which tells nothing about the schema.
_CHATTER = re.compile(
    r"^(?:--(?: (?:Name|PostgreSQL|Dumped)\b.*)?|\\(?:un)?restrict .*"
    r"|SET \w+ = \S+;|SELECT pg_catalog\.set_config\(.*)\n",
    re.MULTILINE,
)


def schema_page() -> str:
    """Replay all migrations on a server of its own, and return the schema they make."""
    with tempfile.TemporaryDirectory(prefix="rugpt-schema-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", options={"fsync": "off"})
        server.start()
        try:
            url = server.url(user=OWNER)
            asyncio.run(_migrate(url))
            return schema_of(url)
        finally:
            server.stop()


def schema_of(url: str) -> str:
    """Return the schema of a database: tables, keys, fences and rights, but not who owns them."""
    dumped = subprocess.run(
        [str(programs_folder() / "pg_dump"), "--schema-only", "--no-owner", url],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    said = re.sub(r"\n{3,}", "\n\n", _CHATTER.sub("", dumped.stdout)).strip()
    said = re.sub(r"\n\n(?=GRANT )", "\n", said)
    return f"{NOTE}\n\n{said}\n"


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection, read_migrations(MIGRATIONS))
    finally:
        await connection.close()
