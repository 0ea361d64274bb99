"""Replicas of the embedded model as Ray actors, asked over HTTP by whoever holds the cluster's token."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from engine.core.embedded import EmbeddedPostgres
from engine.domains.runs import ModelUnavailable
from tests.cluster.replicas import LONG, Client, answer, asking, listening
from tests.process.conftest import Follow
from tests.process.engine import EngineProcess, eventually, register

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.model,
    pytest.mark.system,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
async def client(postgres: EmbeddedPostgres, _migrated: None) -> AsyncIterator[Client]:
    """Whoever asks the replicas of this file."""
    async with listening(postgres) as made:
        yield made


@pytest.fixture(scope="module")
async def engine(client: Client) -> AsyncIterator[EngineProcess]:
    """An engine with a Ray of its own and two replicas."""
    started = await EngineProcess.start(client.data, client.settings, is_ready=False)
    try:
        yield started
        assert started.faults == []
        await started.terminate()
    finally:
        await started.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def replicas(client: Client, engine: EngineProcess) -> Client:
    """The client, once both replicas answer, before it has asked any."""
    await client.begin_anew()
    return client


async def test_replicas_share_the_load_and_answer_roles(
    replicas: Client, engine: EngineProcess, follow: Follow
) -> None:
    said: list[list[Any]] = [[], [], [], []]
    ends = await asyncio.gather(
        *(answer(replicas.model, asking(f"role {n}", tokens=60), said[n]) for n in range(4))
    )

    assert all(said)
    assert all(end.usage.output_tokens > 0 for end in ends)
    assert len(replicas.asked) == 2

    ann = await register(engine.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)
    await ann.post(chat_id, "@@lawyer Что со сроком?")
    await follower.until(lambda seen: seen.has_ended(), seconds=90)
    (run,) = follower.picture.runs.values()
    assert run.status == "completed"
    workers = replicas.processes("ray::WorkerActor")
    assert not any("xllamacpp" in each.path for one in workers for each in one.memory_maps())


async def test_a_role_stays_with_the_replica_that_has_read_its_prompt(replicas: Client) -> None:
    for number in range(3):
        await answer(replicas.model, asking("a lawyer", words=number + 1), [])

    assert len(replicas.asked) == 1


async def test_a_replica_killed_before_its_first_word_is_left_for_the_other_and_comes_back(
    replicas: Client,
) -> None:
    said: list[Any] = []
    answering = asyncio.create_task(answer(replicas.model, asking("x", words=1500), said))
    await eventually(lambda: bool(replicas.asked), what="a call")
    (asked,) = replicas.asked
    assert not said
    replicas.ready()[asked].kill()

    assert (await answering).usage.output_tokens > 0
    assert len(replicas.asked) == 2
    replicas.seen.pop(asked)
    await replicas.both_ready()
    assert asked not in replicas.seen


async def test_a_replica_killed_in_the_middle_fails_clearly_and_says_nothing_twice(
    replicas: Client,
) -> None:
    said: list[Any] = []
    answering = asyncio.create_task(answer(replicas.model, LONG, said))
    await eventually(lambda: len(said) >= 5, seconds=30, what="some words")
    (asked,) = replicas.asked
    replicas.ready()[asked].kill()

    with pytest.raises(ModelUnavailable, match="broke in the middle"):
        await answering
    words = len(said)
    await asyncio.sleep(0.5)
    assert len(said) == words
    assert replicas.asked == {asked}
