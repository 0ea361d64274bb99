"""The edge on a port of this process, with a worker and a scripted model behind it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import uvicorn
from fastapi import FastAPI

from engine.api.live import Hub
from engine.core.sql import Statement
from engine.domains.runs import ModelRequest
from engine.worker import Worker
from tests.process.engine import Event, Stream
from tests.unit.scripted_model import Reply, ScriptedModel, say
from tests.world import Person, World

API = "/api/v1"
WORDS = tuple(f"слово{n} " for n in range(30))
UNFINISHED = Statement(
    "unfinished", "SELECT id FROM runs WHERE status IN ('queued', 'running') LIMIT 1", (), ""
)
ENDS = ("run.completed", "run.failed", "run.cancelled")


@dataclass
class Client:
    """A signed-in person and what they do over HTTP."""

    person: Person
    token: str
    port: int
    http: httpx2.AsyncClient
    streams: list[Stream]

    @property
    def id(self) -> str:
        return str(self.person.id)

    async def call(
        self, method: str, path: str, body: object = None, *, expect: int | None = 200, **more: Any
    ) -> Any:
        """Call the API and return what it answers."""
        headers = {"Authorization": f"Bearer {self.token}", **more}
        answer = await self.http.request(method, API + path, json=body, headers=headers)
        assert expect in (None, answer.status_code), f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def open_chat(self, *members: "Client", **more: Any) -> str:
        """Open a group chat and return its id."""
        new = {"title": "Кадры", "members": [member.id for member in members], **more}
        return str((await self.call("POST", "/chats", new, expect=201))["id"])

    async def post(self, chat_id: str, content: str, **more: Any) -> dict[str, Any]:
        """Post a message and return the answer."""
        posted: dict[str, Any] = await self.call(
            "POST", f"/chats/{chat_id}/messages", {"content": content, **more}, expect=None
        )
        return posted

    async def follow(self, path: str, last_event_id: int | None = None, body: object = None) -> Stream:
        """Begin to follow a stream; with a body it is a POST."""
        stream = await Stream.open(self.port, path, self.token, last_event_id=last_event_id, body=body)
        self.streams.append(stream)
        return stream


@dataclass
class Stage:
    """A running edge and worker."""

    port: int
    hub: Hub
    world: World
    worker: Worker
    model: ScriptedModel
    http: httpx2.AsyncClient
    streams: list[Stream] = field(default_factory=list)

    def script(self, *replies: Reply) -> None:
        """Let the model say these one after another, and the last one again and again."""
        left = list(replies)

        def reply(_: ModelRequest) -> Reply:
            return left.pop(0) if len(left) > 1 else left[0]

        self.model.script = reply

    async def enter(self, person: Person) -> Client:
        """Sign a person in."""
        token = (await self.world.sign_in(person)).access_token
        return Client(person, token, self.port, self.http, self.streams)

    async def rest(self) -> None:
        """Wait until no run is at work, and none waits to be taken."""

        async def is_idle() -> bool:
            async with self.world.database.across_organizations(reason="a test's rest") as across:
                return not self.worker.runs_in_hand and await across.maybe(UNFINISHED) is None

        await eventually(is_idle)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[int]:
    """Serve an app on a free port of the loopback."""
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    # Not serve(): it would take the signals away from pytest.
    serving = asyncio.create_task(server._serve([listener]))

    async def is_up() -> bool:
        return server.started

    await eventually(is_up)
    try:
        yield listener.getsockname()[1]
    finally:
        app.state.hub.say_goodbye()
        server.should_exit = True
        await serving


def talking_model() -> ScriptedModel:
    """Give a model that says thirty words within a third of a second."""
    return ScriptedModel(lambda _: say(*WORDS, pause=0.01))


async def until(stream: Stream, is_last: Callable[[Event], bool], *, seconds: float = 10) -> list[Event]:
    """Read events up to and with the one that is wanted; the stream can be read on after it."""
    read: list[Event] = []
    try:
        async with asyncio.timeout(seconds), aclosing(stream.events()) as events:
            async for event in events:
                read.append(event)
                if is_last(event):
                    return read
    except TimeoutError as late:
        raise AssertionError(f"not heard in {seconds} s; {[event.kind for event in read]}") from late
    raise AssertionError(f"the stream ended; {[(event.no, event.kind) for event in read]}")


async def to_the_end(stream: Stream, *, seconds: float = 10) -> list[Event]:
    """Read a stream that ends by itself."""
    async with asyncio.timeout(seconds), aclosing(stream.events()) as events:
        return [event async for event in events]


async def asked(client: Client, chat_id: str, content: str = "@@lawyer, можно?") -> tuple[str, str]:
    """Call one role; return the run's and the answer's ids."""
    (run,) = (await client.post(chat_id, content))["runs"]
    return run["id"], run["answer_id"]


def kind(*names: str) -> Callable[[Event], bool]:
    """Tell whether an event is of one of these kinds."""
    return lambda event: event.kind in names


def is_message(message_id: str) -> Callable[[Event], bool]:
    """Tell whether an event speaks of a message."""
    return lambda event: bool(event.data.get("message_id") == message_id)


def numbered(events: list[Event]) -> list[Event]:
    """Leave out what nobody resumes from."""
    return [event for event in events if event.no is not None]


def words_of(events: list[Event], run_id: str | UUID) -> str:
    """Put together what a run said: its last snapshot or start, and the deltas after it."""
    text, seq = "", -1
    for event in events:
        if event.data.get("run_id") != str(run_id):
            continue
        if event.kind in ("run.started", "run.restarted"):
            assert event.data["seq"] > seq or not text, "words of an attempt came before it began"
            text, seq = "", event.data["seq"]
        elif event.kind == "run.snapshot":
            text, seq = event.data["text"], event.data["seq"]
        elif event.kind == "run.delta":
            assert event.data["seq"] > seq, "words that were known before"
            text, seq = text + event.data["text"], event.data["seq"]
    return text


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so, ten seconds at most."""
    for _ in range(1000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError
