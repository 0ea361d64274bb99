"""The proof of the path over a GPU asks the model by engines of both runtimes, whatever serves the model."""

import pytest
from rich.console import Console

from bench import gpu
from bench.fake_model import Pace
from bench.processes import start
from bench.ray import INLINE, RAY

pytestmark = [pytest.mark.cluster, pytest.mark.system, pytest.mark.timeout(150)]
PACE = Pace(first_ms=30, gap_ms=10, tokens=8)


async def test_a_model_is_measured_behind_an_engine_with_and_without_ray() -> None:
    model = await start(
        "bench.fake_model",
        f"--first-ms={PACE.first_ms}", f"--gap-ms={PACE.gap_ms}", f"--tokens={PACE.tokens}",
    )  # fmt: skip
    try:
        found = await gpu.measure_engines(Console(quiet=True), model.port, PACE.model, steps=(1, 2))
    finally:
        await model.stop()
    made = gpu.engine_section(PACE.model, found)

    assert list(found) == [INLINE, RAY]
    assert [row[0] for row in made.rows] == ["1", "2"]
    for row in made.rows:
        assert all(30 <= float(each.split(" / ")[0]) < 2000 for each in row[1:3])
        assert row[-1] == "0"
