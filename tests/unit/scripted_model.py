"""A model that says what a test tells it to, and the run that it answers in."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.domains.runs import (
    FinishReason,
    ModelEnd,
    ModelHealth,
    ModelMessage,
    ModelRequest,
    TokenUsage,
    ToolCall,
)
from engine.graphs import ModelUse, RunContext
from engine.roles import Catalogue, Limits, Prompt, Role, load_roles
from engine.tools import FoundMessage, Registry, ToolContext, ToolRecord, every_tool

REPOSITORY = Path(__file__).parents[2]
TOOLS = every_tool()
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """What one call of the model comes to."""

    pieces: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    reason: FinishReason = "stop"
    tokens: int | None = None  # as the provider counts them; a token a piece by default
    error: Exception | None = None  # raised after the pieces
    forever: bool = False  # repeats its pieces until it is closed
    pause: float = 0  # seconds before each piece
    ends: bool = True


def say(*pieces: str, **more: Any) -> Reply:
    """Answer with these pieces."""
    return Reply(pieces, **more)


def use(name: str, call_id: str = "call-1", **arguments: Any) -> Reply:
    """Ask for a tool."""
    return Reply(calls=(ToolCall(call_id, name, arguments),), reason="tool_calls")


@dataclass
class ScriptedModel:
    """Answers from a list, the last entry again and again, or as a function of the request says."""

    script: Iterable[Reply] | Callable[[ModelRequest], Reply]
    provider: str = "scripted"
    name: str = "scripted"
    requests: list[ModelRequest] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    def __post_init__(self) -> None:
        if not callable(self.script):
            self._replies = list(self.script)

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        self.requests.append(request)
        reply = self._reply(request)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            said = 0
            while True:
                for piece in reply.pieces:
                    await asyncio.sleep(reply.pause)
                    yield piece
                    said += 1
                if not reply.forever:
                    break
            if reply.error:
                raise reply.error
            if reply.ends:
                tokens = said if reply.tokens is None else reply.tokens
                yield ModelEnd(reply.reason, TokenUsage(10, tokens), reply.calls)
        finally:
            self.open -= 1

    def _reply(self, request: ModelRequest) -> Reply:
        if callable(self.script):
            return self.script(request)
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    async def check(self) -> ModelHealth:
        return ModelHealth(ok=True)

    async def close(self) -> None:
        pass


@dataclass
class Scene:
    """One run, and everything it told."""

    context: RunContext
    model: ScriptedModel
    said: list[str]
    events: list[dict[str, Any]]
    uses: list[ModelUse]
    records: list[ToolRecord]

    def progress(self) -> list[tuple[str, str, str]]:
        return [(event["kind"], event["name"], event["status"]) for event in self.events]


def shipped_roles() -> Catalogue:
    """Read the roles that come with the engine."""
    return load_roles(REPOSITORY / "engine" / "roles", REPOSITORY / "prompts")


SHIPPED = shipped_roles()


def shipped(code: str) -> Role:
    """Give a role that comes with the engine."""
    role = SHIPPED.get(code)
    assert role is not None
    return role


def plain_prompt(text: str) -> Prompt:
    """Make a prompt that needs nothing."""
    return Prompt("test.md", frozenset(), text)


def stage(
    role: Role,
    script: Iterable[Reply] | Callable[[ModelRequest], Reply],
    *,
    roles: Iterable[Role] | None = None,
    found: tuple[FoundMessage, ...] = (),
    locale: str = "ru",
    registry: Registry | None = None,
    question: str = "Анна: можно ли уволить за опоздание?",
    **more: Any,
) -> Scene:
    """Set a run up as the worker does."""
    model = ScriptedModel(script)
    there = {other.code: other for other in (SHIPPED.all() if roles is None else roles)}
    said: list[str] = []
    events: list[dict[str, Any]] = []
    uses: list[ModelUse] = []
    records: list[ToolRecord] = []

    async def search(query: str, limit: int) -> list[FoundMessage]:
        return [message for message in found if query.casefold() in message.text.casefold()][:limit]

    tools = (registry or TOOLS).open(
        role.tools,
        ToolContext(now=NOW, timezone="Europe/Moscow", search_messages=search, record=records.append),
    )
    context = RunContext(
        role=role,
        find_role=there.get,
        model=model,
        organization="Ромашка",
        asker="Анна",
        chat_title="Кадры",
        locale=locale,
        timezone="Europe/Moscow",
        now=NOW,
        conversation=(ModelMessage("user", question),),
        tools=tools,
        say=said.append,
        report=events.append,
        record_use=uses.append,
        colleagues=tuple(there.values()),
        **more,
    )
    return Scene(context, model, said, events, uses, records)


def limits(*, steps: int = 8, seconds: int = 60, tokens: int = 1000) -> Limits:
    """Make limits that a test does not hit unless it means to."""
    return Limits(steps, seconds, tokens)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that a run brings about, ten seconds at most."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError
