"""The embedded server dies, and its number is given to somebody else; it comes back."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from engine.bootstrap import keep_running
from engine.core.embedded import EmbeddedDatabaseFailed, EmbeddedPostgres

OPTIONS = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture
def own() -> Iterator[EmbeddedPostgres]:
    """A running server that a test may kill."""
    with tempfile.TemporaryDirectory(prefix="rugpt-embedded-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", options=OPTIONS)
        server.start()
        yield server
        server.stop()


async def answer_of(server: EmbeddedPostgres) -> int:
    connection = await asyncpg.connect(server.url(user="postgres"), timeout=5)
    try:
        one: int = await connection.fetchval("SELECT 1")
        return one
    finally:
        await connection.close()


async def eventually(holds: Callable[[], bool], *, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.02)


def process_file(server: EmbeddedPostgres) -> Path:
    return Path(server.url(user="x").partition("host=")[2].replace("%2F", "/")) / "postmaster.pid"


def kill(server: EmbeddedPostgres, number: signal.Signals) -> int:
    process = int(process_file(server).read_text().split()[0])
    os.kill(process, number)
    return process


async def test_a_server_that_died_is_started_again(own: EmbeddedPostgres) -> None:
    watch = asyncio.create_task(keep_running(own))
    try:
        # What `pg_ctl stop -m immediate` sends.
        kill(own, signal.SIGQUIT)
        await eventually(lambda: not own.is_running())
        await eventually(own.is_running)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await answer_of(own) == 1
                    break
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.05)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_server_that_was_stopped_stays_stopped(own: EmbeddedPostgres) -> None:
    await asyncio.to_thread(own.stop)

    assert await asyncio.to_thread(own.start_again) is False
    assert not own.is_running()


async def test_a_server_that_runs_is_left_alone(own: EmbeddedPostgres) -> None:
    before = process_file(own).read_text()

    assert await asyncio.to_thread(own.start_again) is False
    assert process_file(own).read_text() == before


async def test_a_number_that_is_somebody_elses_by_now_is_in_nobodys_way(own: EmbeddedPostgres) -> None:
    dead = kill(own, signal.SIGKILL)
    await eventually(lambda: not own.is_running())
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        for file in (process_file(own), *process_file(own).parent.glob(".s.PGSQL.*.lock")):
            file.write_text(file.read_text().replace(str(dead), str(stranger.pid), 1))

        assert await asyncio.to_thread(own.start_again) is True

        assert await answer_of(own) == 1
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_server_that_does_not_answer_is_named(
    own: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.core.embedded._ANSWER_SECONDS", 0.3)
    file = process_file(own)
    port = file.read_text().split("\n")[3]
    (file.parent / f".s.PGSQL.{port}").unlink()
    second = EmbeddedPostgres(file.parent, options=OPTIONS)

    with pytest.raises(EmbeddedDatabaseFailed, match=r"postmaster\.pid"):
        await asyncio.to_thread(second.start)
