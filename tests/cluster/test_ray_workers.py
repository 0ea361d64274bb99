"""Runs worked by Ray actors: live, once, and whatever dies meanwhile."""

import asyncio
import signal
import sys
from pathlib import Path
from uuid import UUID

import asyncpg
import psutil
import pytest

from bench.processes import DidNotStart
from tests.cluster.conftest import RayEngine, start_with_ray
from tests.process.conftest import Follow, StartEngine
from tests.process.engine import Follower, Person, eventually, register
from tests.process.model import PlannedModel, slowly

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]
TAKEOVER_SECONDS = 15.0


async def ask(ray: RayEngine, follow: Follow) -> tuple[Person, str, Follower, str]:
    """Let somebody ask a role, and return once it has begun to talk."""
    ann = await register(ray.engine.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)
    run_id = (await ann.post(chat_id, "@@lawyer Что со сроком?"))["runs"][0]["id"]
    await follower.until(lambda seen: run_id in seen.runs and bool(seen.runs[run_id].text))
    return ann, chat_id, follower, run_id


async def ends_once(follower: Follower, run_id: str, *, seconds: float = 60) -> None:
    """Fail unless the run ends with one answer, and the stream shows what a fresh load shows."""
    await follower.until(lambda seen: seen.has_ended(), seconds=seconds)
    assert follower.picture.runs[run_id].status == "completed"
    assert len(follower.picture.answers) == 1
    await follower.check_against_fresh_load()


async def worker_of(database_url: str, run_id: str) -> str:
    """Return the name of the worker that has a run; a name holds the machine and the process."""
    connection = await asyncpg.connect(database_url)
    try:
        return str(await connection.fetchval("SELECT worker FROM runs WHERE id = $1", UUID(run_id)))
    finally:
        await connection.close()


async def test_an_actor_answers_live_and_the_end_of_the_engine_ends_its_ray(
    start_engine: StartEngine, follow: Follow
) -> None:
    ray = await start_with_ray(start_engine)
    _, _, follower, run_id = await ask(ray, follow)
    await ends_once(follower, run_id)

    assert follower.picture.kinds.count("run.delta") >= 5
    assert follower.picture.texts_checked == 1
    assert await ray.engine.terminate() <= 12
    assert ray.engine.faults == []


async def test_an_actor_that_stood_still_past_its_lease_ends_nothing(
    start_engine: StartEngine, follow: Follow, model: PlannedModel, database_url: str
) -> None:
    model.script = slowly(words=100)
    ray = await start_with_ray(start_engine, RUGPT_WORKERS="2")
    _, _, follower, run_id = await ask(ray, follow)
    zombie = psutil.Process(int((await worker_of(database_url, run_id)).split(":")[1]))
    zombie.send_signal(signal.SIGSTOP)
    await follower.until(lambda seen: seen.runs[run_id].restarts == 1, seconds=TAKEOVER_SECONDS)
    zombie.send_signal(signal.SIGCONT)

    await ends_once(follower, run_id)
    assert zombie.is_running()
    assert len(ray.processes("ray::WorkerActor")) == 2


async def test_when_the_engine_is_killed_its_ray_ends_and_the_next_engine_goes_on(
    start_engine: StartEngine, follow: Follow, model: PlannedModel
) -> None:
    model.script = slowly(words=200)
    ray = await start_with_ray(start_engine)
    ann, chat_id, _, run_id = await ask(ray, follow)
    family = psutil.Process(ray.engine.child.process.pid).children(recursive=True)
    await ray.engine.kill()
    after = await start_with_ray(start_engine)

    for _ in range(300):
        if (await ann.at(after.engine).run(run_id))["status"] == "completed":
            break
        await asyncio.sleep(0.2)
    answers = [one for one in (await ann.at(after.engine).messages(chat_id)).values() if one["role"]]
    assert len(answers) == 1
    await eventually(
        lambda: not any(one.is_running() for one in family), what="the end of the old Ray", seconds=20
    )


async def test_an_engine_with_a_token_that_others_can_read_does_not_start(
    start_engine: StartEngine, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 64)
    token.chmod(0o644)

    with pytest.raises(DidNotStart, match="chmod 600"):
        await start_with_ray(start_engine, RUGPT_RAY_TOKEN_FILE=str(token))


async def test_nobody_joins_the_cluster_without_its_token(start_engine: StartEngine) -> None:
    ray = await start_with_ray(start_engine)
    (gcs,) = [one for one in ray.processes("gcs_server") if one.name().startswith("gcs")]
    port = min(each.laddr.port for each in gcs.net_connections() if each.status == psutil.CONN_LISTEN)
    stranger = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import ray; ray.init('127.0.0.1:{port}', namespace='rugpt'); print(ray.util.list_named_actors())",
        env={
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "x" * 64,
            "RAY_USAGE_STATS_ENABLED": "0",
            "HOME": "/nowhere",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            said, complained = await stranger.communicate()
    finally:
        if stranger.returncode is None:
            stranger.kill()
            await stranger.wait()

    assert stranger.returncode != 0
    assert b"worker-" not in said
    assert b"nauth" in complained or b"oken" in complained, complained[-2000:]
