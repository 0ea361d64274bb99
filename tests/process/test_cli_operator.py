"""What an operator runs: `rugpt seed`, `migrate` and `doctor`, beside a running engine and without one."""

import asyncio
import os
import re
from pathlib import Path

import asyncpg
import pytest

from engine.core.embedded import EmbeddedPostgres
from tests.process.conftest import StartEngine
from tests.process.engine import register, sign_in
from tests.process.terminal import in_terminal, rugpt

PASSWORDS = re.compile(r"^  (\w+) +((?:[a-z2-9]{4}-){4}[a-z2-9]{4})  ", re.MULTILINE)


async def test_the_demo_is_made_once_and_its_people_can_talk(
    start_engine: StartEngine, settings: dict[str, str]
) -> None:
    engine = await start_engine()

    made = await rugpt("seed", settings=settings)
    again = await rugpt("seed", settings=settings)

    assert (made.code, again.code) == (0, 0)
    passwords = dict(PASSWORDS.findall(made.output))
    assert set(passwords) == {"anna", "ivan", "olga", "pavel"}
    assert len(set(passwords.values())) == 4
    assert "nothing was changed" in again.output
    assert not PASSWORDS.findall(again.output)
    olga = await sign_in(engine.port, "olga", passwords["olga"])
    chats = (await olga.call("GET", "/chats"))["items"]
    assert sorted(chat["title"] for chat in chats) == ["Бухгалтерия", "Договоры", "Общий"]
    posted = await olga.post(chats[0]["id"], "@@accountant сколько?")
    assert len(posted["runs"]) == 1


async def test_new_passwords_end_the_old_ones_and_the_sessions(
    start_engine: StartEngine, settings: dict[str, str]
) -> None:
    engine = await start_engine()
    first = dict(PASSWORDS.findall((await rugpt("seed", settings=settings)).output))
    anna = await sign_in(engine.port, "anna", first["anna"])

    second = dict(PASSWORDS.findall((await rugpt("seed", "--reset-passwords", settings=settings)).output))

    assert second.keys() == first.keys()
    assert not set(second.values()) & set(first.values())
    await anna.call("POST", "/auth/login", {"username": "anna", "password": first["anna"]}, expect=401)
    await sign_in(engine.port, "anna", second["anna"])


async def test_removing_the_demo_leaves_nothing_of_it_and_all_of_the_others(
    start_engine: StartEngine, settings: dict[str, str], database_url: str
) -> None:
    engine = await start_engine()
    ann = await register(engine.port)
    await ann.post(await ann.open_chat(), "Мы останемся")
    await rugpt("seed", "--remove", settings=settings)  # `ann` has the slug, and is not the demo.
    before = await _rows(database_url)

    refused = await rugpt("seed", "--remove", settings=settings)
    unseeded = await rugpt("seed", settings=settings)

    for done in (refused, unseeded):
        assert done.code == 1
        assert done.errors == (
            "rugpt: An organization with the slug romashka exists that `rugpt seed` did not make.\n"
        )
    assert await _rows(database_url) == before


async def test_the_demo_goes_as_it_came(
    start_engine: StartEngine, settings: dict[str, str], database_url: str
) -> None:
    engine = await start_engine()
    before = await _rows(database_url)
    passwords = dict(PASSWORDS.findall((await rugpt("seed", settings=settings)).output))
    anna = await sign_in(engine.port, "anna", passwords["anna"])
    chat_id = (await anna.call("GET", "/chats"))["items"][0]["id"]
    run_id = (await anna.post(chat_id, "@@assistant?"))["runs"][0]["id"]
    await anna.call("POST", f"/runs/{run_id}/cancel")

    removed = await rugpt("seed", "--remove", settings=settings)
    nothing = await rugpt("seed", "--remove", settings=settings)

    assert removed.output.startswith("Removed «Ромашка» (romashka): ")
    assert (removed.code, nothing.code) == (0, 1)
    after = await _rows(database_url)
    after.pop("role_versions"), before.pop("role_versions")  # The same for all organizations.
    assert after == before
    assert (await register(engine.port)).user["role"] == "admin"


async def test_the_plan_says_what_would_run_and_when_nothing_would(
    settings: dict[str, str], postgres: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    nothing = await rugpt("migrate", "--plan", settings=settings)
    fresh = await rugpt("migrate", "--plan", "--data", str(tmp_path / "new"), settings={})
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE schema_migrations SET checksum = 'another'")
    await connection.close()
    changed = await rugpt("migrate", "--plan", settings=settings)

    assert (nothing.code, nothing.output) == (0, "Nothing to do: the schema is that of this release.\n")
    assert fresh.output.startswith("Would run:\n  0001_pre_foundation.sql\n")
    assert not (tmp_path / "new").exists()
    assert changed.code == 1
    assert re.fullmatch(r"rugpt: The migration \S+ was changed after it was applied\. .*\n", changed.errors)


async def test_the_doctor_finds_a_healthy_engine(start_engine: StartEngine, settings: dict[str, str]) -> None:
    engine = await start_engine()

    done = await rugpt("doctor", settings={**settings, "RUGPT_PORT": str(engine.port)})

    lines = dict(re.findall(r"^\w+ +([\w ]+): (.*)$", done.output, re.MULTILINE))
    assert (done.code, done.errors) == (0, "")
    assert lines["database"].startswith("server of RUGPT_DATABASE_URL, PostgreSQL 18")
    assert lines["schema"] == "that of this release"
    assert "cannot bypass" in lines["fence"]
    assert lines["clock"].endswith("the database agrees")
    assert lines["RUGPT_SECRET_KEY"] == "set (hidden)"
    assert lines["running engine"].startswith("ready, openai:")
    assert settings["RUGPT_SECRET_KEY"] not in done.output


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"RUGPT_DATABASE_URL": "postgresql://me:hush@127.0.0.1:9/x"}, "database"),
        ({"RUGPT_OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, "model state"),
        ({"RUGPT_MODEL": "ollama:qwen", "RUGPT_OLLAMA_URL": "http://127.0.0.1:9"}, "model state"),
    ],
)
async def test_the_doctor_says_what_is_missing(
    settings: dict[str, str], change: dict[str, str], about: str, tmp_path: Path
) -> None:
    done = await rugpt("doctor", "--data", str(tmp_path), settings={**settings, "RUGPT_PORT": "0", **change})

    assert done.code == 1
    assert re.findall(r"^missing ([\w ]+):", done.output, re.MULTILINE) == [about]
    assert "hush" not in done.output + done.errors
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib would block the loop no less


async def test_the_doctor_sees_a_role_that_can_pass_the_fence(
    settings: dict[str, str], database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE messages NO FORCE ROW LEVEL SECURITY")
    await connection.close()

    done = await rugpt("doctor", settings={**settings, "RUGPT_PORT": "0"})

    assert done.code == 1
    assert "missing fence: without row-level security: messages" in done.output


async def test_the_doctor_leaves_a_stopped_database_alone_unless_told(tmp_path: Path) -> None:
    quiet = {"RUGPT_MODEL": "embedded:smollm2-135m", "RUGPT_PORT": "0"}
    await rugpt("migrate", "--data", str(tmp_path), settings=quiet)

    stopped = await rugpt("doctor", "--data", str(tmp_path), settings=quiet)
    started = await rugpt("doctor", "--data", str(tmp_path), "--start", settings=quiet)

    assert "note    database: embedded, stopped" in stopped.output
    assert "ok      database: embedded, PostgreSQL 18" in started.output
    assert "ok      schema: that of this release" in started.output
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()


async def _rows(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            row["tablename"]: await connection.fetchval(f"SELECT count(*) FROM {row['tablename']}")
            for row in names
        }
    finally:
        await connection.close()


async def test_an_engine_whose_terminal_is_closed_stops_its_database(tmp_path: Path) -> None:
    serve = ("serve", "--port", "0", "--data", str(tmp_path))
    # The model is not asked for: an address at which nothing listens.
    settings = {"RUGPT_MODEL": "openai:nobody", "RUGPT_OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}

    async with in_terminal(*serve, settings=settings) as terminal:
        await terminal.see("RuGPT Engine listens on http://127.0.0.1:")
        await terminal.see("scripts/rugpt seed --data")
        assert (tmp_path / "postgres" / "postmaster.pid").exists()
        terminal.hang_up()
        async with asyncio.timeout(20):
            await terminal.process.wait()

    assert not (tmp_path / "postgres" / "postmaster.pid").exists()
