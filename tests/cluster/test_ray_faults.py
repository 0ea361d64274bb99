"""What else can go wrong with a cluster, and that runs end once all the same."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from bench.processes import postgres_pid
from engine.core.embedded import EmbeddedPostgres
from engine.core.settings import Settings
from ray_cluster.cluster import Head, environment, start_head, token_file
from tests.cluster.conftest import WORKER, RayEngine, is_named, start_with_ray
from tests.process.conftest import Follow, StartEngine
from tests.process.engine import SECRET, Follower, eventually, register, running
from tests.process.model import PlannedModel, slowly

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]
TAKEOVER_SECONDS = 15.0
QUESTION = "@@lawyer Что со сроком?"


async def ask(ray: RayEngine, follow: Follow) -> tuple[Follower, str]:
    """Let somebody ask a role, and return once it has begun to talk."""
    ann = await register(ray.engine.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)
    run_id = (await ann.post(chat_id, QUESTION))["runs"][0]["id"]
    await follower.until(lambda seen: run_id in seen.runs and bool(seen.runs[run_id].text))
    return follower, run_id


async def ends_once(follower: Follower, run_id: str, *, restarts: int) -> None:
    """Fail unless the run ends with one answer, and the stream shows what a fresh load shows."""
    await follower.until(lambda seen: seen.has_ended(), seconds=90)
    assert follower.picture.runs[run_id].status == "completed"
    assert follower.picture.runs[run_id].restarts == restarts
    assert len(follower.picture.answers) == 1
    await follower.check_against_fresh_load()


async def test_a_worker_that_stands_still_for_ever_is_replaced_within_15_seconds(
    start_engine: StartEngine, follow: Follow, model: PlannedModel
) -> None:
    model.script = slowly(words=60)
    ray = await start_with_ray(start_engine)
    follower, run_id = await ask(ray, follow)
    frozen = ray.worker()
    frozen.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    await follower.until(lambda seen: seen.runs[run_id].restarts == 1, seconds=40)

    assert time.monotonic() - began <= TAKEOVER_SECONDS
    await ends_once(follower, run_id, restarts=1)
    await eventually(lambda: not frozen.is_running() or not is_named(frozen, WORKER), what="its end")


async def test_when_the_head_is_lost_a_new_one_goes_on(
    start_engine: StartEngine, follow: Follow, model: PlannedModel
) -> None:
    model.script = slowly(words=60)
    ray = await start_with_ray(start_engine)
    follower, run_id = await ask(ray, follow)
    for name in ("gcs_server", "/raylet/raylet"):
        for one in ray.processes(name):
            one.kill()

    await ends_once(follower, run_id, restarts=1)


@pytest.fixture
async def mortal(model: PlannedModel) -> AsyncIterator[tuple[EmbeddedPostgres, Path, dict[str, str]]]:
    """A database of this test alone, as it is after it has died, its folder, and what an engine is told."""
    with tempfile.TemporaryDirectory(prefix="rugpt-cluster-", ignore_cleanup_errors=True) as folder:
        server, reborn = [
            EmbeddedPostgres(Path(folder) / "postgres", options={"fsync": "off"}) for _ in range(2)
        ]
        await asyncio.to_thread(server.start)
        settings = {
            **model.settings,
            "RUGPT_DATABASE_URL": server.url(user="rugpt_app"),
            "RUGPT_DATABASE_OWNER_URL": server.url(user="postgres"),
            "RUGPT_SECRET_KEY": SECRET,
            "RUGPT_RUNTIME": "ray",
        }
        try:
            yield reborn, Path(folder), settings
        finally:
            await asyncio.to_thread(reborn.stop)
            await asyncio.to_thread(server.stop)


async def test_when_the_database_restarts_the_actors_go_on(
    mortal: tuple[EmbeddedPostgres, Path, dict[str, str]], follow: Follow, model: PlannedModel
) -> None:
    model.script = slowly(words=300)  # It still talks when the database is back.
    reborn, folder, settings = mortal
    async with running(folder, settings) as engine:
        ray = RayEngine(engine)
        follower, run_id = await ask(ray, follow)
        worker = ray.worker()
        pid = postgres_pid(folder)
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)  # No goodbye, and recovery at the next start.
        await eventually(lambda: not psutil.pid_exists(pid), what="the end of the database")
        await asyncio.to_thread(reborn.start)
        await follower.until(lambda seen: seen.has_ended(), seconds=60)

        assert follower.picture.runs[run_id].status == "completed"
        assert len(follower.picture.answers) == 1
        await follower.check_against_fresh_load()
        assert ray.worker().pid == worker.pid
        await engine.terminate()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Head, Path]]:
    """A cluster that engines join, and its token."""
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    token = token_file(settings)
    head = start_head(tmp_path, environment(token))
    yield head, token
    head.stop()


@asynccontextmanager
async def joined(
    start_engine: StartEngine, cluster: tuple[Head, Path], **changes: str
) -> AsyncIterator[RayEngine]:
    """Start an engine that joins a cluster, and kill it after the block."""
    head, token = cluster
    ray = await start_with_ray(
        start_engine, RUGPT_RAY_ADDRESS=head.address, RUGPT_RAY_TOKEN_FILE=str(token), **changes
    )
    yield ray
    await ray.engine.kill()


async def test_a_new_release_replaces_the_old_one_and_no_run_is_begun_anew(
    start_engine: StartEngine, follow: Follow, model: PlannedModel, cluster: tuple[Head, Path]
) -> None:
    model.script = slowly(words=150, gap_seconds=0.1)
    head = psutil.Process(cluster[0].process.pid)

    def workers() -> set[int]:
        return {one.pid for one in head.children(recursive=True) if is_named(one, WORKER)}

    async with joined(start_engine, cluster) as old:
        follower, run_id = await ask(old, follow)
        (before,) = workers()
        async with joined(start_engine, cluster, RUGPT_WORKER_RUNS="500") as new:
            await eventually(lambda: len(workers()) == 2, what="a worker of the new release", seconds=40)
            await old.engine.kill()  # What works its run belongs to nobody but the cluster.
            follower.person = follower.person.at(new.engine)
            await ends_once(follower, run_id, restarts=0)
            await eventually(lambda: before not in workers(), what="the old worker's end", seconds=20)
            model.script = slowly(words=5)
            again = (await follower.person.post(follower.chat_id, QUESTION))["runs"][0]["id"]
            await follower.until(lambda seen: again in seen.runs and seen.has_ended(), seconds=30)
            assert len(workers()) == 1
