"""The guide's way from the embedded PostgreSQL to a server: its own statements and commands are run."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest

from bench.processes import ROOT
from engine.core.embedded import EmbeddedPostgres, programs_folder
from tests.process.conftest import StartEngine
from tests.process.engine import Person, register

GUIDE = (ROOT / "docs" / "guides" / "scale.md").read_text("utf-8")
COUNTS = """
SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM users), (SELECT count(*) FROM pg_policies)
"""


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL server that knows nothing of us."""
    with tempfile.TemporaryDirectory(prefix="rugpt-server-", ignore_cleanup_errors=True) as folder:
        made = EmbeddedPostgres(Path(folder) / "postgres", options={"fsync": "off"})
        await asyncio.to_thread(made.start)
        admin = await asyncpg.connect(made.url(user="postgres", database="postgres"))
        await admin.execute("DROP DATABASE rugpt")
        await admin.close()
        yield made
        await asyncio.to_thread(made.stop)


async def test_the_guide_moves_an_installation_to_a_server(
    start_engine: StartEngine,
    settings: dict[str, str],
    server: EmbeddedPostgres,
    database_url: str,
    tmp_path: Path,
) -> None:
    engine = await start_engine()
    ann = await register(engine.port)
    chat_id = await ann.open_chat()
    await ann.post(chat_id, "Мы переезжаем")
    there = folder_of(server.url(user="postgres"))

    admin = await asyncpg.connect(server.url(user="postgres", database="postgres"))
    (statements,) = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)
    for statement in statements.split(";\n")[:-1]:
        await admin.execute(statement)
    await admin.close()
    await run(
        command("pg_dump")
        .replace("/var/lib/rugpt/data/postgres", folder_of(database_url))
        .replace("/var/backups", str(tmp_path))
        .removesuffix("rugpt")  # the name of the database, which here is another
        + urlsplit(database_url).path[1:]
    )
    await run(
        command("pg_restore")
        .replace("postgresql://rugpt_owner:YOURS-1@10.0.0.30/rugpt", f"'{server_url(there, 'rugpt_owner')}'")
        .replace("/var/backups", str(tmp_path))
    )

    before, after = await counts(database_url), await counts(server.url(user="postgres"))
    assert before == after
    await engine.kill()
    moved = await start_engine(
        RUGPT_DATABASE_URL=server_url(there, "rugpt_app"),
        RUGPT_DATABASE_OWNER_URL=server_url(there, "rugpt_owner"),
    )
    read = await Person(moved.port, ann.token, ann.user).messages(chat_id)
    assert [message["content"] for message in read.values()] == ["Мы переезжаем"]
    await ann.at(moved).post(chat_id, "Приехали")
    await moved.kill()


def command(tool: str) -> str:
    """Return the guide's line that begins with a program."""
    (line,) = re.findall(rf"^{tool} .*$", GUIDE, re.MULTILINE)
    return str(line)


def folder_of(url: str) -> str:
    """Return the folder of the socket that an address leads to."""
    (folder,) = parse_qs(urlsplit(url).query)["host"]
    return folder


def server_url(folder: str, user: str) -> str:
    return f"postgresql://{user}@/rugpt?host={quote(folder, safe='')}"


async def counts(url: str) -> tuple[int, ...]:
    connection = await asyncpg.connect(url)
    try:
        return tuple(await connection.fetchrow(COUNTS) or ())
    finally:
        await connection.close()


async def run(line: str) -> None:
    """Run a line of the guide in a shell."""
    child = await asyncio.create_subprocess_shell(
        line,
        env={"PATH": f"{programs_folder()}:{os.defpath}"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(child.communicate(), 40)
    assert child.returncode == 0, errors.decode()
