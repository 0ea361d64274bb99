"""Engines that join a cluster share its replicas, until one wants others."""

import asyncio
from urllib.parse import urlsplit

import pytest

from engine.core.embedded import EmbeddedPostgres
from ray_cluster.cluster import environment, start_head
from tests.cluster.replicas import answer, asking, listening
from tests.process.engine import EngineProcess, eventually

pytestmark = [
    pytest.mark.usefixtures("_migrated"),
    pytest.mark.cluster,
    pytest.mark.model,
    pytest.mark.system,
    pytest.mark.timeout(240),
]


async def test_engines_of_a_cluster_share_its_replicas_until_one_wants_others(
    postgres: EmbeddedPostgres,
) -> None:
    async with listening(postgres) as client:
        head = await asyncio.to_thread(start_head, client.data, environment(client.token))
        joined = {
            **client.settings,
            "RUGPT_RAY_ADDRESS": head.address,
            "RUGPT_RAY_TOKEN_FILE": str(client.token),
        }
        others = {**joined, "RUGPT_MODEL_PARALLEL": "3", "RUGPT_DRAIN_SECONDS": "20"}
        engines = []
        try:
            engines.append(await EngineProcess.start(client.data, joined, is_ready=False))
            await client.both_ready()
            first = client.ready()
            assert not any(urlsplit(client.seen[one].url or "").hostname == "127.0.0.1" for one in first)

            engines.append(await EngineProcess.start(client.data, joined))
            assert client.ready() == first

            engines.append(await EngineProcess.start(client.data, others, is_ready=False))
            await eventually(lambda: not any(one.is_running() for one in first.values()), seconds=40)
            client.seen.clear()
            await client.both_ready()
            assert {one.slots for one in client.seen.values()} == {3}
            assert (await answer(client.model, asking("x"), [])).usage.output_tokens > 0
        finally:
            for engine in engines:
                await engine.kill()
            head.stop()
