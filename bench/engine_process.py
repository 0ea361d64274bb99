"""The real engine as a user would start it, with the fake model behind it and one organization inside."""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.http1 import Connection, call, request
from bench.load import EngineAnswer, Result, Target
from bench.processes import Child, postgres_pid, start, stop_postgres, tree_cpu_seconds

MODULE = "engine.cli"
API = "/api/v1"
ROLE = "assistant"
QUESTION = f"@@{ROLE} Что важно в договоре поставки?"
TOKEN_GOOD_FOR_SECONDS = 8 * 60  # Access tokens last 15 minutes; a wave takes less than 5.
USERNAME, PASSWORD = "bench", secrets.token_urlsafe(16)


class EngineRefused(Exception):
    """The engine answered a preparing call with something else than was hoped for."""


@dataclass(slots=True)
class EngineProcess:
    """A running engine, and a session in it."""

    child: Child
    data: Path
    ready_seconds: float  # from the start of the process until the API said it was ready
    _token: str = ""
    _token_at: float = 0.0

    @classmethod
    async def start(
        cls,
        data: Path,
        *,
        model: str,
        model_port: int,
        settings: Mapping[str, str],
        is_ready: bool = True,
        roles: Path | None = None,
    ) -> "EngineProcess":
        """Start the engine on a data folder and return once it is ready, or at least its API answers.

        `roles` is a folder of roles in place of its own.
        """
        environment = {
            "RUGPT_MODEL": f"openai:{model}",
            "RUGPT_OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
            "RUGPT_OPENAI_API_KEY": "bench",
            "RUGPT_REGISTRATION": "first",
            "RUGPT_RUNTIME": "inline",
            **settings,
        }
        arguments = ("serve", "--port", "0", "--data", str(data))
        module = (MODULE,) if roles is None else ("bench.other_roles", str(roles))
        child = await start(*module, *arguments, environment=environment, limit_seconds=120)
        try:
            await _until_ready(child, "/health/ready" if is_ready else "/health")
        except BaseException:
            await child.stop()
            await stop_postgres(data)
            raise
        return cls(child, data, time.perf_counter() - child.started)

    async def stop(self) -> None:
        """End the engine, and its database should the engine have left it running."""
        await self.child.stop()
        await stop_postgres(self.data)

    async def register(self) -> None:
        """Make the organization and its first admin, and be logged in."""
        who = {"username": USERNAME, "email": "bench@example.com", "password": PASSWORD}
        new = {**who, "organization": "Bench", "display_name": "Bench"}
        self._keep(await self._call("POST", "/auth/register", new))

    async def readiness(self) -> dict[str, Any]:
        """Return what the engine says of its model, and of how many workers it hears."""
        return dict((await self._call("GET", "/health/ready"))["model"])

    async def log_in(self) -> None:
        """Take a new access token when the one at hand grows old."""
        if time.perf_counter() - self._token_at > TOKEN_GOOD_FOR_SECONDS:
            self._token = ""
            self._keep(await self._call("POST", "/auth/login", {"username": USERNAME, "password": PASSWORD}))

    async def new_chats(self, number: int) -> list[str]:
        """Make group chats in which the role may be called, and return their ids."""
        await self.log_in()
        titles = iter(range(number))
        ids: list[str] = []

        async def make_some() -> None:
            connection = Connection(self.child.port)
            for title in titles:
                new = {"title": f"Bench {title}", "kind": "group", "members": [], "roles": [ROLE]}
                ids.append(str((await self._call("POST", "/chats", new, connection))["id"]))
            connection.close()

        await asyncio.gather(*(make_some() for _ in range(4)))
        return ids

    def target(self, chats: Sequence[str]) -> Target:
        """Ask the role in these chats, one question each, and hear the answers on the same call."""
        paths = [f"{API}/chats/{chat_id}/messages" for chat_id in chats]
        content = {"content": QUESTION}
        accept = "text/event-stream"
        requests = [request("POST", path, content, token=self._token, accept=accept) for path in paths]
        return Target(self.child.port, requests, EngineAnswer)

    async def check_stored(self, chats: Sequence[str], result: Result, *, at_most: int = 50) -> None:
        """Compare the last streamed answer of some chats with what is stored, and note each difference."""
        last = {turn.chat: turn.answer for turn in result.turns}
        for chat, answer in list(last.items())[:at_most]:
            page = await self._call("GET", f"/chats/{chats[chat]}/messages?limit=20")
            stored = {str(message["id"]): message["content"] for message in page["items"]}
            if stored.get(answer.message_id) != answer.text():
                result.errors.append(f"the stored answer {answer.message_id} is not what was streamed")

    def database_cpu_seconds(self) -> float:
        """Return the processor time of the embedded database, 0 when it is elsewhere."""
        pid = postgres_pid(self.data)
        return tree_cpu_seconds(pid) if pid else 0.0

    def _keep(self, session: dict[str, Any]) -> None:
        self._token, self._token_at = session["access_token"], time.perf_counter()

    async def _call(
        self, method: str, path: str, content: Any = None, connection: Connection | None = None
    ) -> Any:
        own = connection or Connection(self.child.port)
        try:
            status, answer = await call(own, request(method, API + path, content, token=self._token))
        finally:
            if connection is None:
                own.close()
        if status not in (200, 201):
            raise EngineRefused(f"{method} {path}: {status} {answer}")
        return answer


async def _until_ready(child: Child, path: str, limit_seconds: float = 60) -> None:
    connection = Connection(child.port)
    deadline = time.perf_counter() + limit_seconds
    asked = request("GET", API + path)
    while True:
        try:
            status, answer = await call(connection, asked)
        except OSError:
            status, answer = 0, "no connection"
        if status == 200:
            connection.close()
            return
        if time.perf_counter() > deadline:
            raise EngineRefused(f"not ready after {limit_seconds} s: {status} {answer}")
        await asyncio.sleep(0.005)
