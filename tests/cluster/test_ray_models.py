"""Replicas of the embedded model as Ray actors, asked over HTTP by whoever holds the cluster's token."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from engine.adapters.models import TINY, ReplicatedModel
from engine.adapters.models.wire import Limits
from engine.core.feed import Feed
from engine.core.relay import Relay
from engine.core.secret import derive
from engine.core.settings import Settings
from engine.domains import runs
from engine.domains.runs import ModelEnd, ModelMessage, ModelRequest, ModelUnavailable, ReplicaSeen
from ray_cluster.cluster import environment, start_head, token_file
from ray_cluster.sealed import MODELS
from tests.cluster.conftest import MARK, is_marked, is_named
from tests.contracts.test_embedded import weights_folder
from tests.process.conftest import Follow
from tests.process.engine import EngineProcess, eventually, register

pytestmark = [pytest.mark.cluster, pytest.mark.model, pytest.mark.timeout(240)]

ACTOR = "ray::ModelActor"
LIMITS = Limits(first_token_seconds=60, total_seconds=120)


class Client:
    """Asks the replicas of an engine's cluster from this process, as a worker does."""

    def __init__(self, data: Path, token: Path) -> None:
        self.data = data
        self.feed = Feed()
        self.engine: EngineProcess | None = None
        self.seen: dict[str, ReplicaSeen] = {}
        self.asked: set[str] = set()
        key = derive(token.read_bytes().strip(), MODELS).hex()
        self.model = ReplicatedModel(name=TINY, api_key=key, limits=LIMITS, feed=self.feed, wanted=2)
        self.feed.on(ReplicaSeen, lambda seen: self.seen.__setitem__(seen.replica, seen))

    def processes(self, name: str = ACTOR) -> list[psutil.Process]:
        """Return the processes of this name on this machine that are of this test."""
        mark = os.environ[MARK]
        return [one for one in psutil.process_iter() if is_named(one, name) and is_marked(one, mark)]

    def ready(self) -> dict[str, psutil.Process]:
        """Return the processes of the replicas that answer, by id."""
        by_port = {
            connection.laddr.port: process
            for process in self.processes()
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        urls = {one.replica: urlsplit(one.url or "").port for one in self.seen.values()}
        return {name: by_port[port] for name, port in urls.items() if port in by_port}

    async def both_ready(self) -> None:
        """Wait until two replicas answer."""
        await eventually(lambda: len(self.ready()) == 2, seconds=60, what="two replicas")

    async def note_who_is_asked(self) -> None:
        """Note, until cancelled, the replicas to which this process has a connection."""
        this = psutil.Process()
        while True:
            ports = {one.raddr.port for one in this.net_connections() if one.raddr}
            self.asked |= {one.replica for one in self.seen.values() if urlsplit(one.url or "").port in ports}
            await asyncio.sleep(0.005)


@pytest.fixture
async def client(settings: dict[str, str], application_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """Make the data folder of engines with replicas of the smallest model, and hear of these."""
    data = tmp_path / "data"
    (data / "models").mkdir(parents=True)
    for file in weights_folder().glob("smollm2*.gguf"):
        (data / "models" / file.name).symlink_to(file.resolve())
    settings |= {
        "RUGPT_MODEL": f"embedded:{TINY}",
        "RUGPT_RUNTIME": "ray",
        "RUGPT_MODEL_REPLICAS": "2",
        "RUGPT_MODEL_PARALLEL": "2",
        "RUGPT_MODEL_ANSWER_TOKENS": "60",
    }
    made = Client(data, token_file(Settings.model_validate({"data_dir": data})))
    relay = Relay(application_url, made.feed)
    runs.let_travel(relay)
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(made.note_who_is_asked())]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await made.model.close()


@pytest.fixture
async def replicas(client: Client, settings: dict[str, str]) -> AsyncIterator[Client]:
    """Start an engine with a Ray of its own, and wait for its two replicas."""
    engine = await EngineProcess.start(client.data, settings, is_ready=False)
    try:
        client.engine = engine
        await client.both_ready()
        yield client
        assert engine.faults == []
    finally:
        await engine.terminate()


def asking(role: str, *, words: int = 3, tokens: int = 24) -> ModelRequest:
    return ModelRequest(
        messages=(
            ModelMessage("system", f"You are {role}."),
            ModelMessage("user", "one " * words + "Name three colours."),
        ),
        max_tokens=tokens,
    )


LONG = ModelRequest(messages=(ModelMessage("user", "Count from 1 to 1000."),), max_tokens=900)


async def answer(model: ReplicatedModel, request: ModelRequest, said: list[Any]) -> ModelEnd:
    """Note what is said as it is said; return how it ended."""
    async for part in model.stream(request):
        said.append(part)  # noqa: PERF401 - what came before a failure counts
    end = said.pop()
    assert isinstance(end, ModelEnd)
    return end


async def test_replicas_share_the_load_and_answer_roles(replicas: Client, follow: Follow) -> None:
    said: list[list[Any]] = [[], [], [], []]
    ends = await asyncio.gather(
        *(answer(replicas.model, asking(f"role {n}", tokens=60), said[n]) for n in range(4))
    )

    assert all(said)
    assert all(end.usage.output_tokens > 0 for end in ends)
    assert len(replicas.asked) == 2

    assert replicas.engine is not None
    ann = await register(replicas.engine.port)
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


async def test_engines_of_a_cluster_share_its_replicas_until_one_wants_others(
    client: Client, settings: dict[str, str]
) -> None:
    token = client.data / "ray" / "token"
    head = await asyncio.to_thread(start_head, client.data, environment(token))
    joined = {**settings, "RUGPT_RAY_ADDRESS": head.address, "RUGPT_RAY_TOKEN_FILE": str(token)}
    engines = []
    try:
        engines.append(await EngineProcess.start(client.data, joined, is_ready=False))
        await client.both_ready()
        first = client.ready()
        assert not any(urlsplit(client.seen[one].url or "").hostname == "127.0.0.1" for one in first)

        engines.append(await EngineProcess.start(client.data, joined))
        assert client.ready() == first

        others = {**joined, "RUGPT_MODEL_PARALLEL": "3", "RUGPT_DRAIN_SECONDS": "20"}
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
