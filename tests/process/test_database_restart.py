"""PostgreSQL dies in the middle of an answer and comes back."""

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

import asyncpg
import httpx2

from bench.processes import postgres_pid
from engine.core.embedded import EmbeddedPostgres
from tests.process.conftest import Follow
from tests.process.engine import API, SECRET, Person, eventually, register, running
from tests.process.model import PlannedModel, slowly

OPTIONS = {"fsync": "off", "full_page_writes": "off"}


async def test_a_run_ends_once_though_the_database_died_in_the_middle(
    follow: Follow, model: PlannedModel
) -> None:
    model.script = slowly(words=60, gap_seconds=0.05)
    with tempfile.TemporaryDirectory(prefix="rugpt-process-", ignore_cleanup_errors=True) as folder:
        data = Path(folder)
        server = EmbeddedPostgres(data / "postgres", options=OPTIONS)
        await asyncio.to_thread(server.start)
        reborn = EmbeddedPostgres(data / "postgres", options=OPTIONS)
        settings = {
            **model.settings,
            "RUGPT_DATABASE_URL": server.url(user="rugpt_app"),
            "RUGPT_DATABASE_OWNER_URL": server.url(user="postgres"),
            "RUGPT_SECRET_KEY": SECRET,
        }
        try:
            async with running(data, settings) as engine:
                ann = await register(engine.port)
                chat_id = await ann.open_chat()
                follower = await follow(ann, chat_id)
                await ann.post(chat_id, "@@lawyer Что со сроком?")
                await follower.until(lambda seen: any(len(run.text) > 50 for run in seen.runs.values()))

                # What `pg_ctl stop -m immediate` sends: no goodbye, and recovery at the next start.
                pid = postgres_pid(data)
                assert pid is not None
                os.kill(pid, signal.SIGQUIT)
                await eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the end of the database")
                await asyncio.sleep(0.5)
                assert await status_of_chats(ann) in (500, 503)
                await asyncio.to_thread(reborn.start)
                back_at = time.monotonic()
                while await status_of_chats(ann) != 200:
                    assert time.monotonic() - back_at < 5, "the API did not come back"
                    await asyncio.sleep(0.05)
                await follower.until(lambda seen: seen.has_ended())

                assert [run.status for run in follower.picture.runs.values()] == ["completed"]
                assert len(follower.picture.answers) == 1
                assert follower.picture.kinds.count("run.completed") == 1
                await follower.check_against_fresh_load()
                connection = await asyncpg.connect(server.url(user="postgres"))
                try:
                    assert (
                        await connection.fetchval("SELECT count(*) FROM messages WHERE role_code <> ''") == 1
                    )
                    assert await connection.fetchval("SELECT count(*) FROM model_calls") == 1
                finally:
                    await connection.close()
        finally:
            await asyncio.to_thread(reborn.stop)
            await asyncio.to_thread(server.stop)


async def status_of_chats(person: Person) -> int:
    """Ask for one's chats, and return what status that has."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{person.port}{API}", trust_env=False) as http:
        answer = await http.get("/chats", headers={"Authorization": f"Bearer {person.token}"}, timeout=20)
    return answer.status_code
