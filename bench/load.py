"""Asks many questions at once and times the answers: one process, one connection per chat.

What it asks is a `Target`: the fake model itself, the proxy before it, or the engine.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import orjson

from bench.figures import percentile
from bench.http1 import BadAnswer, Connection, Event, EventReader, request

TURN_LIMIT_SECONDS = 60


class Answer:
    """Listens to one answer; times are those of time.perf_counter(), 0 for what has not happened."""

    __slots__ = ("_events", "_heard", "done_at", "error", "first_at", "message_id")

    def __init__(self) -> None:
        self.first_at = self.done_at = 0.0
        self.error: str | None = None
        self.message_id = ""
        self._events = EventReader()
        self._heard: list[Event] = []  # Decoded later: while turns are timed, each microsecond counts.

    def take(self, body: bytes) -> None:
        """Take a piece of the streamed body."""
        for event in self._events.feed(body):
            self._hear(event)

    def text(self) -> str:
        """Return the streamed tokens, joined."""
        raise NotImplementedError

    def complaint(self, status: int) -> str:
        """Say what is wrong with an answer that is over."""
        said = self._events.unread[:300].decode(errors="replace")
        return (
            self.error or f"status {status}, first token {self.first_at > 0}, end {self.done_at > 0} {said}"
        )

    def _hear(self, event: Event) -> None:
        raise NotImplementedError


class ModelAnswer(Answer):
    """Listens to the OpenAI protocol."""

    __slots__ = ()

    def _hear(self, event: Event) -> None:
        if event.data == b"[DONE]":
            self.done_at = time.perf_counter()
            return
        if not self._heard:
            self.first_at = time.perf_counter()
        self._heard.append(event)

    def text(self) -> str:
        choices = [orjson.loads(event.data)["choices"] for event in self._heard]
        return "".join(choice[0]["delta"].get("content", "") for choice in choices if choice)


class EngineAnswer(Answer):
    """Listens to the engine's stream of one posted message, which calls one role."""

    __slots__ = ("_whole",)

    def __init__(self) -> None:
        super().__init__()
        self._whole: str | None = None

    def _hear(self, event: Event) -> None:
        match event.name:
            case b"run.delta" | b"run.snapshot":
                self._heard.append(event)
                if not self.first_at:
                    self._note_first(event)
            case b"run.restarted":
                self._heard.append(event)
            case b"message.created" if not self.first_at:
                self._note_whole(event)
            case b"run.completed":
                self.done_at = time.perf_counter()
            case b"run.failed" | b"run.cancelled":
                self.error = f"{event.name.decode()} {event.data[:300].decode(errors='replace')}"

    def _note_first(self, event: Event) -> None:
        now = time.perf_counter()
        said = orjson.loads(event.data)
        if said["text"]:  # A snapshot may be taken before the first word.
            self.first_at, self.message_id = now, str(said["message_id"])

    def _note_whole(self, event: Event) -> None:
        """Take an answer that was posted before any of its words was told: it was as fast as that."""
        now = time.perf_counter()
        message = orjson.loads(event.data).get("message") or {}
        if message.get("role"):
            self.first_at, self.message_id, self._whole = now, str(message["id"]), message["content"]

    def text(self) -> str:
        if self._whole is not None:
            return self._whole
        text, seen = "", -1
        for event in self._heard:
            if event.name == b"run.restarted":
                text, seen = "", -1
                continue
            said = orjson.loads(event.data)
            if event.name == b"run.snapshot":
                text, seen = said["text"], said["seq"]
            elif said["seq"] > seen:
                text, seen = text + said["text"], said["seq"]
        return text


@dataclass(frozen=True, slots=True)
class Target:
    """Something to ask: the request of each chat, and how its answers are heard."""

    port: int
    requests: Sequence[bytes]
    listen: Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer: seconds to the first token and to the end."""

    chat: int
    first: float
    total: float
    answer: Answer


@dataclass(slots=True)
class Result:
    """What a wave of questions brought."""

    turns: list[Turn] = field(default_factory=list)  # those that count
    errors: list[str] = field(default_factory=list)
    asked: int = 0  # all, the warming-up ones and the failed ones too
    seconds: float = 0.0

    def first_ms(self, share: float) -> float:
        """Return a percentile of the time to the first token, NaN when no turn went well."""
        return percentile([turn.first for turn in self.turns], share) * 1000 if self.turns else nan

    def total_ms(self, share: float) -> float:
        """Return a percentile of the time to the end, NaN when no turn went well."""
        return percentile([turn.total for turn in self.turns], share) * 1000 if self.turns else nan


def model_target(port: int, model: str, chats: int) -> Target:
    """Ask a model server, or the proxy before it, what the engine would ask it for a short chat."""
    content = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Ты помощник в рабочем чате. Отвечай кратко."},
            {"role": "user", "content": "Что важно в договоре поставки?"},
        ],
    }
    asked = request("POST", "/v1/chat/completions", content, accept="text/event-stream")
    return Target(port, [asked] * chats, ModelAnswer)


async def wave(target: Target, *, turns: int, spread_seconds: float, warm_up: int = 1) -> Result:
    """Let every chat ask `turns` times in a row, all chats at once.

    They begin evenly spread over `spread_seconds`, as people do, rather than in one burst; each one's
    first `warm_up` turns are asked on top and not counted.
    """
    result = Result()

    async def chat(number: int) -> None:
        connection = Connection(target.port)
        await asyncio.sleep(spread_seconds * number / len(target.requests))
        for turn in range(turns + warm_up):
            if not await _ask(target, connection, number, result, counts=turn >= warm_up):
                break  # Whoever was refused would only be refused again, or wait as long again.
        connection.close()

    return await _timed(result, [chat(number) for number in range(len(target.requests))])


async def rush(
    target: Target, *, users: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> Result:
    """Let users ask without a pause until the time is up, each going round its share of the chats."""
    result = Result()
    until = clock() + seconds

    async def user(number: int) -> None:
        connection = Connection(target.port)
        mine = range(number, len(target.requests), users)
        turn = 0
        while clock() < until:
            if not await _ask(target, connection, mine[turn % len(mine)], result, counts=True):
                break
            turn += 1
        connection.close()

    return await _timed(result, [user(number) for number in range(users)])


async def _ask(target: Target, connection: Connection, chat: int, result: Result, *, counts: bool) -> bool:
    """Take one turn and add it to the result; return whether it went well."""
    result.asked += 1
    answer = target.listen()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(TURN_LIMIT_SECONDS):
            status = await connection.ask(target.requests[chat], answer.take)
    except (BadAnswer, OSError, TimeoutError) as error:
        result.errors.append(f"{type(error).__name__}: {error}")
        return False
    if status not in (200, 201) or answer.error or not (answer.first_at and answer.done_at):
        result.errors.append(answer.complaint(status))
        return False
    if counts:
        result.turns.append(Turn(chat, answer.first_at - started, answer.done_at - started, answer))
    return True


async def _timed(result: Result, chats: Iterable[Coroutine[Any, Any, None]]) -> Result:
    gc.collect()
    gc.disable()  # A pause of ours would be counted as theirs.
    started = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for chat in chats:
                group.create_task(chat)
    finally:
        gc.enable()
    result.seconds = time.perf_counter() - started
    return result
