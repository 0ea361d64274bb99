"""Real engine processes, and a client of theirs that keeps its own picture of a chat."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from bench.processes import Child, DidNotStart, start
from tests.namespaces import Machine
from tests.process.stream import API, Event, Stream

__all__ = ["API", "Event", "Stream"]

SECRET = "a secret of the process tests, not of anybody"
PASSWORD = "correct horse battery"
# Where the engines of tests have their runs worked, unless a test says it; the second stage sets it to `ray`.
RUNTIME = os.environ.get("TESTS_RUNTIME", "inline")
ENDED = ("completed", "failed", "cancelled")


@dataclass
class EngineProcess:
    """One running engine."""

    child: Child
    data: Path
    host: str = "127.0.0.1"

    @classmethod
    async def start(
        cls,
        data: Path,
        settings: Mapping[str, str],
        *arguments: str,
        crash_at: str = "",
        is_ready: bool = True,
        port: int = 0,
        machine: Machine | None = None,
    ) -> "EngineProcess":
        """Start one and return once it can work; with Ray, once its actors do.

        `crash_at` names a point of crashing.py; on a `machine` it listens on that one's address.
        """
        serve = ["serve", "--port", str(port), "--data", str(data), *arguments]
        serve += ["--host", machine.address] if machine else []
        module = ["tests.process.crashing", crash_at] if crash_at else ["engine.cli"]
        settings = {"RUGPT_RUNTIME": RUNTIME, **settings}
        within = machine.command() if machine else ()
        child = await start(*module, *serve, environment=settings, within=within)
        engine = cls(child, data, machine.address if machine else "127.0.0.1")
        if is_ready:
            try:
                await engine.wait_until_ready()
                if settings["RUGPT_RUNTIME"] == "ray":
                    await engine.wait_until_worked_by(int(settings.get("RUGPT_WORKERS", "1")))
            except BaseException:
                await engine.kill()
                raise
        return engine

    @property
    def port(self) -> int:
        return self.child.port

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.child.output.read_text(errors="replace")

    @property
    def faults(self) -> list[str]:
        """What it has logged of its own bugs: lines that carry a traceback."""
        return [line.replace("\\n", "\n") for line in self.log.splitlines() if "Traceback" in line]

    async def wait_until_ready(self, seconds: float = 30) -> None:
        """Return once the database and the model answer."""
        async with httpx2.AsyncClient(
            base_url=f"http://{self.host}:{self.port}", trust_env=False, verify=False
        ) as http:
            answer = "nothing"
            try:
                async with asyncio.timeout(seconds):
                    while True:
                        try:
                            ready = await http.get(f"{API}/health/ready")
                            if ready.status_code == 200:
                                return
                            answer = ready.text
                        except httpx2.TransportError as away:
                            answer = repr(away)
                        if self.child.process.returncode is not None:
                            raise DidNotStart(self.log[-3000:])
                        await asyncio.sleep(0.02)
            except TimeoutError as late:
                raise DidNotStart(f"not ready: {answer}; {self.log[-3000:]}") from late

    async def wait_until_worked_by(self, actors: int, *, seconds: float = 60) -> None:
        """Return once so many actors of Ray work, and nobody stands in for them.

        How many there are is told on its own machine only.
        """
        async with httpx2.AsyncClient(
            base_url=f"http://{self.host}:{self.port}", trust_env=False, verify=False
        ) as http:
            seen = "nothing"
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                try:
                    seen = (await http.get(f"{API}/health/ready")).text
                except httpx2.TransportError as away:
                    seen = repr(away)
                found = re.search(r'"workers":(\d+)', seen)
                enough = int(found[1]) >= actors if found else not self.host.startswith("127.")
                if enough and self.log.count("standing_in") == self.log.count("stood_in"):
                    return
                await asyncio.sleep(0.1)
        raise DidNotStart(f"not {actors} actors in {seconds} s: {seen}; {self.log[-3000:]}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.child.pid, number)

    async def wait_for_end(self, seconds: float = 15) -> int:
        """Wait until the process is gone; return its exit status, -9 when it was killed."""
        async with asyncio.timeout(seconds):
            return await self.child.process.wait()

    async def kill(self) -> None:
        """End it at once, as a power cut would; no harm if it has ended before."""
        if self.child.process.returncode is None:
            self.child.process.kill()
        await self.child.process.wait()

    async def terminate(self) -> float:
        """Ask it to end; return how many seconds it took."""
        began = time.monotonic()
        self.send(signal.SIGTERM)
        await self.wait_for_end(20)
        return time.monotonic() - began


@dataclass
class RunPicture:
    """What a client knows of a run."""

    status: str = "queued"
    answer_id: str = ""
    text: str = ""
    seq: int = -1
    restarts: int = 0
    heard_on: Stream | None = None  # the connection that has told a snapshot, or words from their start
    failure: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)


class ChatPicture:
    """What a client that only ever saw events knows of a chat."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, RunPicture] = {}
        self.kinds: list[str] = []
        self.last_no: int | None = None
        self.reads: dict[str, int] = {}
        self.texts_checked = 0

    def apply(self, event: Event, stream: Stream) -> None:
        """Take one event in; what contradicts the rules of the stream fails the test."""
        if event.kind == "hello":
            self.last_no = event.data["last_event_id"] if self.last_no is None else self.last_no
            return
        assert event.kind != "resync", "nothing here is so old"
        self.kinds.append(event.kind)
        if event.no is not None:
            assert self.last_no is None or event.no > self.last_no, f"{event} came after {self.last_no}"
            self.last_no = event.no
        if event.kind.startswith("message."):
            self._apply_message(event, stream)
        elif event.kind.startswith("run."):
            self._apply_run(event, stream)
        elif event.kind == "read":
            self.reads[event.data["user_id"]] = event.data["up_to_no"]

    def run_of(self, message_id: str) -> RunPicture | None:
        """Return the run that writes a message, if any is known."""
        return next((run for run in self.runs.values() if run.answer_id == message_id), None)

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The messages that roles wrote."""
        return [message for message in self.messages.values() if message["role"]]

    def has_ended(self) -> bool:
        """Whether there are runs and all of them have ended."""
        return bool(self.runs) and all(run.status in ENDED for run in self.runs.values())

    def _apply_message(self, event: Event, stream: Stream) -> None:
        message = event.data["message"]
        if event.kind == "message.created":
            assert message["id"] not in self.messages, "a message was created twice"
            run = self.run_of(message["id"])
            if run is not None and run.heard_on is stream:
                assert run.text == message["content"]
                self.texts_checked += 1
        self.messages[message["id"]] = message

    def _apply_run(self, event: Event, stream: Stream) -> None:
        data = event.data
        run = self.runs.setdefault(data["run_id"], RunPicture())
        run.answer_id = data.get("message_id", run.answer_id)
        if event.kind == "run.snapshot":
            assert run.status not in ENDED, "a run that has ended does not talk"
            run.text, run.seq, run.heard_on, run.status = data["text"], data["seq"], stream, "running"
        elif event.kind == "run.delta":
            assert run.status not in ENDED, "a run that has ended does not talk"
            assert data["seq"] > run.seq, "a delta that was in the snapshot, or came before"
            run.text, run.seq, run.heard_on = run.text + data["text"], data["seq"], stream
        elif event.kind == "run.tool":
            run.steps.append(data)
        else:
            run.status = event.kind.removeprefix("run.")
            if event.kind == "run.failed":
                run.failure = data
            if event.kind in ("run.started", "run.restarted"):
                run.restarts += event.kind == "run.restarted"
                assert data["seq"] > run.seq or not run.text, "words of an attempt came before it began"
                run.status, run.text, run.heard_on = "running", "", None


class Person:
    """Somebody with an account, and the HTTP calls they make."""

    def __init__(self, port: int, token: str, user: dict[str, Any], host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host
        self.token = token
        self.user = user
        self.username: str = user.get("username", "")

    @property
    def id(self) -> str:
        return str(self.user["id"])

    def at(self, engine: EngineProcess) -> "Person":
        """Return the same person as a client of another engine process."""
        return Person(engine.port, self.token, self.user, engine.host)

    async def call(self, method: str, path: str, body: object = None, *, expect: int = 200) -> Any:
        """Call the API and return what it answers."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with httpx2.AsyncClient(
            base_url=f"http://{self.host}:{self.port}{API}", trust_env=False, timeout=20, verify=False
        ) as http:
            answer = await http.request(method, path, json=body, headers=headers)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def open_chat(self, *members: "Person", roles: tuple[str, ...] = ()) -> str:
        """Open a group chat and return its id."""
        new = {
            "title": "Поставка", "kind": "group", "members": [one.id for one in members], "roles": list(roles)
        }  # fmt: skip
        return str((await self.call("POST", "/chats", new, expect=201))["id"])

    async def post(self, chat_id: str, content: str, **more: str) -> dict[str, Any]:
        """Post a message and return the answer of the call."""
        posted: dict[str, Any] = await self.call(
            "POST", f"/chats/{chat_id}/messages", {"content": content, **more}, expect=201
        )
        return posted

    async def hire(self, username: str) -> "Person":
        """Add a person, who signs in with the temporary password and changes it."""
        new = {"username": username, "email": f"{username}@example.com", "display_name": username.title()}
        added = await self.call("POST", "/users", new, expect=201)
        return await settled(self.port, username, added["temporary_password"], self.host)

    async def messages(self, chat_id: str) -> dict[str, dict[str, Any]]:
        """Load a chat from its history."""
        page = await self.call("GET", f"/chats/{chat_id}/messages?limit=200")
        return {message["id"]: message for message in page["items"]}

    async def run(self, run_id: str) -> dict[str, Any]:
        """Load a run."""
        loaded: dict[str, Any] = await self.call("GET", f"/runs/{run_id}")
        return loaded


async def register(port: int, host: str = "127.0.0.1", *, prefix: str = "") -> Person:
    """Make the organization and its admin; a proxy may want a prefix."""
    new = {
        "organization": "Ромашка", "username": "ann", "email": "ann@example.com",
        "password": PASSWORD, "display_name": "Анна",
    }  # fmt: skip
    made = await Person(port, "", {}, host).call("POST", f"{prefix}/auth/register", new, expect=201)
    return Person(port, made["access_token"], made["user"], host)


async def sign_in(port: int, username: str, password: str, host: str = "127.0.0.1") -> Person:
    """Sign somebody in."""
    who = {"username": username, "password": password}
    session = await Person(port, "", {}, host).call("POST", "/auth/login", who)
    return Person(port, session["access_token"], session["user"], host)


async def settled(port: int, username: str, temporary: str, host: str = "127.0.0.1") -> Person:
    """Sign a newcomer in, change the temporary password, and return them signed in."""
    newcomer = await sign_in(port, username, temporary, host)
    await newcomer.call("POST", "/auth/password", {"current_password": temporary, "new_password": PASSWORD})
    return await sign_in(port, username, PASSWORD, host)


class Follower:
    """Follows a chat through cuts, restarts and reconnects, as a careful client would."""

    def __init__(self, person: Person, chat_id: str) -> None:
        self.person = person
        self.chat_id = chat_id
        self.picture = ChatPicture()
        self.connections = 0
        self.stream: Stream | None = None

    async def connect(self) -> Stream:
        """Open a stream where the last one ended."""
        self.stream = await Stream.open(
            self.person.port,
            f"/chats/{self.chat_id}/events",
            self.person.token,
            last_event_id=self.picture.last_no,
            host=self.person.host,
        )
        self.connections += 1
        return self.stream

    def cut(self) -> None:
        """Lose the connection."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    async def begin(self) -> None:
        """Connect and wait until the engine has said hello, so that nothing later is missed."""
        stream = await self.connect()
        async with aclosing(stream.events()) as events:
            self.picture.apply(await anext(events), stream)

    async def until(
        self,
        is_enough: Callable[[ChatPicture], bool],
        *,
        seconds: float = 20,
        cuts: Iterator[int] | None = None,
    ) -> None:
        """Follow until the picture is as wished; reconnect whenever the connection ends.

        `cuts` says after how many more bytes each connection is cut, wherever in an event that is.
        """
        try:
            async with asyncio.timeout(seconds):
                while not is_enough(self.picture):
                    await self._follow_once(is_enough, cuts)
        except TimeoutError as late:
            seen = {run_id: (run.status, run.text[-80:]) for run_id, run in self.picture.runs.items()}
            raise AssertionError(f"not seen in {seconds} s; {self.picture.kinds[-20:]} {seen}") from late

    async def check_against_fresh_load(self) -> None:
        """Fail unless the picture is what somebody sees who loads the chat now."""
        assert self.picture.messages == await self.person.messages(self.chat_id)
        for run_id, run in self.picture.runs.items():
            assert (await self.person.run(run_id))["status"] == run.status

    async def _follow_once(
        self, is_enough: Callable[[ChatPicture], bool], cuts: Iterator[int] | None
    ) -> None:
        if self.stream is None:
            try:
                await self.connect()
            except OSError:
                await asyncio.sleep(0.05)
                return
        stream = self.stream
        assert stream is not None
        limit = None if cuts is None else stream.bytes_read + next(cuts)
        async with aclosing(stream.events(limit)) as events:
            async for event in events:
                self.picture.apply(event, stream)
                if is_enough(self.picture):
                    return
        self.cut()


async def eventually(
    is_so: Callable[[], bool], *, seconds: float = 10, what: str = "what was waited for"
) -> float:
    """Wait until something is so; return the seconds it took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, f"{what} did not happen in {seconds} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@asynccontextmanager
async def running(
    data: Path, settings: Mapping[str, str], *arguments: str, crash_at: str = "", is_ready: bool = True
) -> AsyncIterator[EngineProcess]:
    """Run an engine while the block runs, and kill it after that."""
    engine = await EngineProcess.start(data, settings, *arguments, crash_at=crash_at, is_ready=is_ready)
    try:
        yield engine
    finally:
        await engine.kill()
