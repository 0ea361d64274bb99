"""A role that asks for a pool is worked by actors of its own, which Ray gives what the role file asks for."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from tests.cluster.ask_ray import Cluster, ask_ray
from tests.cluster.code import copy_of_the_code, running_from
from tests.process.conftest import Follow, StartEngine
from tests.process.engine import ChatPicture, EngineProcess, register
from tests.process.model import PlannedModel, slowly

pytestmark = [pytest.mark.cluster, pytest.mark.system, pytest.mark.timeout(180)]
RESOURCES = "resources: {pool: heavy, cpus: 0.5, gpus: 0, memory_mb: 100, concurrency: 1}\n"
MB = 2**20


async def what_ray_has(engine: EngineProcess) -> Cluster:
    (address,) = re.findall(r'"address": "([^"]+)", "event": "ray_ready"', engine.log)
    return await ask_ray(address, engine.data / "ray" / "token")


def is_talking(seen: ChatPicture) -> bool:
    return any(run.text for run in seen.runs.values())


async def test_a_pool_grows_with_its_work_holds_what_it_asks_for_and_shrinks_when_it_is_calm(
    start_engine: StartEngine, follow: Follow, model: PlannedModel, database_url: str, tmp_path: Path
) -> None:
    code = copy_of_the_code(tmp_path / "code")
    with (code / "engine" / "roles" / "lawyer.yaml").open("a", encoding="utf-8") as file:
        file.write(RESOURCES)
    engine = await start_engine(
        RUGPT_RUNTIME="ray", RUGPT_POOLS="heavy=0-2", is_ready=False, **running_from(code)
    )
    await engine.wait_until_ready()
    model.script = slowly(words=300, gap_seconds=0.05)
    ann = await register(engine.port)
    followers = [await follow(ann, await ann.open_chat()) for _ in range(3)]
    await ann.post(followers[0].chat_id, "@@lawyer Что со сроком?")
    assert '"ray_ready"' not in engine.log  # It waits for a pool that only Ray has.
    await followers[0].until(is_talking, seconds=40)
    one = await what_ray_has(engine)
    assert (one.workers_of("default"), one.workers_of("heavy")) == (1, 1)

    for role, follower in zip(("lawyer", "hr"), followers[1:], strict=True):
        await ann.post(follower.chat_id, f"@@{role} Что со сроком?")
        await follower.until(is_talking, seconds=40)
    two = await what_ray_has(engine)
    assert (two.workers_of("default"), two.workers_of("heavy")) == (1, 2)
    assert one.free["CPU"] - two.free["CPU"] == pytest.approx(0.5)
    assert one.free["memory"] - two.free["memory"] >= 100 * MB
    assert await workers_by_role(database_url) == {"lawyer": 2, "hr": 1}

    for follower in followers:
        await follower.until(lambda seen: seen.has_ended(), seconds=60)
        assert [(run.status, run.restarts) for run in follower.picture.runs.values()] == [("completed", 0)]
    async with asyncio.timeout(60):  # Ray gives back what an actor has held a moment after it is gone.
        while (after := await what_ray_has(engine)).free["CPU"] != pytest.approx(one.free["CPU"]):
            continue
    assert (after.workers_of("default"), after.workers_of("heavy")) == (1, 1)


async def workers_by_role(url: str) -> dict[str, int]:
    """Return how many processes work the runs of each role."""
    owner = await asyncpg.connect(url)
    try:
        rows = await owner.fetch(
            "SELECT role_code, count(DISTINCT worker) AS workers FROM runs"
            " WHERE status = 'running' GROUP BY role_code"
        )
    finally:
        await owner.close()
    return {row["role_code"]: row["workers"] for row in rows}
