"""A chat's events without end: reconnects by itself, and resumes where it was."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from random import uniform
from typing import Any

import httpx

from engine.cli.chat.api import Api, EngineAway, Refused
from engine.core.errors import Unavailable

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream; `no` is None for words, which nobody resumes from."""

    kind: str
    data: dict[str, Any]
    no: str | None


async def follow(api: Api, chat_id: str, *, lost: Callable[[], None] = lambda: None) -> AsyncIterator[Event]:
    """Yield what happens in a chat, for ever.

    After a break it goes on behind the last event it gave; `lost` is called once for each break that a
    first attempt at once does not mend. Raises Refused when the chat is no longer there, and SignedOut.
    """
    after: str | None = None
    failures = 0
    while True:
        try:
            async with api.stream(f"/chats/{chat_id}/events", after=after) as lines:
                async for event in read_events(lines):
                    failures = 0
                    after = _place(event) or after
                    yield event
        except (EngineAway, httpx.TransportError):
            pass
        except Refused as refused:
            if refused.status < 500 and refused.status != 429:
                raise
        failures += 1
        if failures == 2:
            lost()
        await asyncio.sleep(pause_seconds(failures))


def pause_seconds(failures: int) -> float:
    """Return how long to wait before the next attempt: longer each time, never the same for all."""
    longest: float = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 10))
    return uniform(longest / 2, longest)


async def read_events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Read server-sent events; comments and events without data are skipped."""
    kind, no, data = "message", None, list[str]()
    async for line in lines:
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                kind = value
            elif field == "id":
                no = value
            elif field == "data":
                data.append(value)
            continue
        if data:
            yield Event(kind, _object("\n".join(data)), no)
        kind, no, data = "message", None, []


def _place(event: Event) -> str | None:
    if event.kind == "hello":
        return str(event.data["last_event_id"])
    return event.no


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise Unavailable("The engine sent an event that is no object.")
    return value
