"""What a stream of events promises, whatever its reader does."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from engine.api.sse import HEARTBEAT, EventStream


class Reader:
    """A connection: keeps what it is sent, may stand still, and may leave."""

    def __init__(self, *, takes: int = 1000) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self._takes = takes

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if len(self.sent) >= self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]


class Words:
    """A source of events that knows whether it was closed."""

    def __init__(self, *events: bytes, goes_on: bool = False) -> None:
        self.closed = False
        self._events = events
        self._goes_on = goes_on

    async def said(self) -> AsyncGenerator[bytes, None]:
        try:
            for event in self._events:
                yield event
            if self._goes_on:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def read(words: Words, reader: Reader, *, heartbeat_seconds: float = 5) -> list[str]:
    left: list[str] = []
    stream = EventStream(
        words.said(),
        heartbeat_seconds=heartbeat_seconds,
        send_seconds=0.05,
        leave=lambda: left.append("left"),
    )
    async with asyncio.timeout(2):
        await stream({"type": "http", "method": "GET"}, reader.receive, reader.send)
    return left


async def test_events_are_sent_in_order_and_the_end_is_told() -> None:
    reader, words = Reader(), Words(b"one", b"two")
    assert await read(words, reader) == ["left"]
    assert reader.bodies() == [b"one", b"two", b""]
    assert not reader.sent[-1]["more_body"]
    headers = dict(reader.sent[0]["headers"])
    assert (headers[b"cache-control"], headers[b"x-accel-buffering"]) == (b"no-store", b"no")


async def test_a_quiet_stream_beats_and_ends_when_its_reader_leaves() -> None:
    reader, words = Reader(), Words(b"one", goes_on=True)
    asyncio.get_running_loop().call_later(0.1, reader.gone.set)
    assert await read(words, reader, heartbeat_seconds=0.02) == ["left"]
    assert reader.bodies()[:2] == [b"one", HEARTBEAT]
    assert words.closed


async def test_a_reader_that_takes_no_event_is_dropped() -> None:
    reader, words = Reader(takes=2), Words(b"one", b"two")
    assert await read(words, reader) == ["left"]
    assert words.closed
    assert reader.bodies() == [b"one"]


async def test_a_reader_that_takes_no_heartbeat_is_dropped() -> None:
    reader, words = Reader(takes=2), Words(b"one", goes_on=True)
    assert await read(words, reader, heartbeat_seconds=0.02) == ["left"]
    assert words.closed
