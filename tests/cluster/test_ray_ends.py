"""Ray ends with its engine, however early and in whatever way that ends."""

from signal import SIGINT, SIGKILL, SIGTERM, Signals

import psutil
import pytest

from tests.cluster.conftest import RayEngine, is_named
from tests.process.conftest import StartEngine
from tests.process.engine import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
ONLY_STAGE_TWO = pytest.mark.system


@pytest.mark.parametrize(
    "number",
    [SIGTERM, pytest.param(SIGINT, marks=ONLY_STAGE_TWO), pytest.param(SIGKILL, marks=ONLY_STAGE_TWO)],
)
@pytest.mark.parametrize("far", ["ray_cluster.host", "gcs_server", "/raylet/raylet"])
async def test_an_engine_that_ends_while_its_ray_starts_leaves_none_of_it(
    start_engine: StartEngine, number: Signals, far: str
) -> None:
    ray = RayEngine(await start_engine(RUGPT_RUNTIME="ray", is_ready=False))
    await eventually(lambda: bool(ray.processes(far)), seconds=30, what=f"the start of {far}")
    seen: list[psutil.Process] = ray.family()
    ray.engine.send(number)
    await ray.engine.wait_for_end(20)

    await eventually(
        lambda: not any(is_named(one, "ray") for one in seen), seconds=30, what="the end of its Ray"
    )
