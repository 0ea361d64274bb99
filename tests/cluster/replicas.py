"""An engine's replicas of the smallest model, and a client of this process that asks them as workers do."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from engine.adapters.models import TINY, ReplicatedModel
from engine.adapters.models.weights import fetch, known_weights
from engine.adapters.models.wire import Limits
from engine.core.embedded import EmbeddedPostgres
from engine.core.feed import Feed
from engine.core.relay import Relay
from engine.core.secret import derive
from engine.core.settings import Settings
from engine.domains import runs
from engine.domains.runs import ModelEnd, ModelMessage, ModelRequest, ReplicaSeen
from ray_cluster.cluster import token_file
from ray_cluster.sealed import MODELS
from tests.cluster.conftest import MARK, is_marked, is_named
from tests.conftest import fresh_database
from tests.contracts.test_embedded import weights_folder
from tests.process.engine import SECRET, eventually

ACTOR = "ray::ModelActor"
LIMITS = Limits(first_token_seconds=60, total_seconds=120)


class Client:
    """Asks the replicas of an engine's cluster from this process, as a worker does."""

    def __init__(self, data: Path, settings: dict[str, str], token: Path) -> None:
        self.data = data
        self.settings = settings
        self.token = token
        self.feed = Feed()
        self.seen: dict[str, ReplicaSeen] = {}
        self.asked: set[str] = set()
        self.model = self._new_model()
        self.feed.on(ReplicaSeen, lambda seen: self.seen.__setitem__(seen.replica, seen))

    def _new_model(self) -> ReplicatedModel:
        key = derive(self.token.read_bytes().strip(), MODELS).hex()
        return ReplicatedModel(name=TINY, api_key=key, limits=LIMITS, feed=self.feed, wanted=2)

    async def begin_anew(self) -> None:
        """Know nothing of whom was asked before, and wait until both replicas answer."""
        await self.model.close()
        self.model = self._new_model()
        self.seen.clear()
        await self.both_ready()
        self.asked.clear()

    def processes(self, name: str = ACTOR) -> list[psutil.Process]:
        """Return the processes of this name on this machine that are of this test."""
        mark = os.environ[MARK]
        return [one for one in psutil.process_iter() if is_named(one, name) and is_marked(one, mark)]

    def ready(self) -> dict[str, psutil.Process]:
        """Return the processes of the replicas that answer, by id."""
        by_port = {
            connection.laddr.port: process
            for process in self.processes()
            for one in (process, *process.children())
            for connection in one.net_connections()
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


def bring_weights(data: Path) -> None:
    """Put the smallest model's weights into a data folder; they are fetched once."""
    file = fetch(known_weights()[TINY], weights_folder())
    (data / "models").mkdir()
    (data / "models" / file.name).symlink_to(file.resolve())


@asynccontextmanager
async def listening(postgres: EmbeddedPostgres) -> AsyncIterator[Client]:
    """Make the data folder of engines with replicas of the smallest model, and hear of these."""
    async with AsyncExitStack() as parts:
        name = await parts.enter_async_context(fresh_database(postgres))
        data = Path(
            parts.enter_context(
                tempfile.TemporaryDirectory(prefix="rugpt-cluster-", ignore_cleanup_errors=True)
            )
        )
        await asyncio.to_thread(bring_weights, data)
        application_url = postgres.url(user="rugpt_app", database=name)
        settings = {
            "RUGPT_DATABASE_URL": application_url,
            "RUGPT_DATABASE_OWNER_URL": postgres.url(user="postgres", database=name),
            "RUGPT_SECRET_KEY": SECRET,
            "RUGPT_LEASE_SECONDS": "1.5",
            "RUGPT_MODEL": f"embedded:{TINY}",
            "RUGPT_RUNTIME": "ray",
            "RUGPT_MODEL_REPLICAS": "2",
            "RUGPT_MODEL_PARALLEL": "2",
            "RUGPT_MODEL_ANSWER_TOKENS": "60",
        }
        made = Client(data, settings, token_file(Settings.model_validate({"data_dir": data})))
        relay = Relay(application_url, made.feed)
        runs.let_travel(relay)
        tasks = [asyncio.create_task(relay.run()), asyncio.create_task(made.note_who_is_asked())]
        yield made
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await made.model.close()


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
