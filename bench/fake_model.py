"""An OpenAI-compatible server that writes fixed words at a set pace, for next to no CPU.

The pace is asked for through the model's name: `fake-50-20-100` writes its first token after 50 ms and
99 more with 20 ms between them; `fake-0-0-20` writes 20 tokens at once. Any other name gets the pace
given by the flags.
"""

import argparse
import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count, cycle, islice
from math import ceil
from typing import Any, cast

import orjson
import uvloop

from bench.processes import announce

TICK = 0.001  # seconds; streams that are due within the same tick share one timer
WORDS = ["договор", "срок", "оплата", "сторона,", "the", "закон", "№", "44", "суд.", "не", "в"]

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Pace:
    """How an answer is timed, in milliseconds and tokens."""

    first_ms: int = 50
    gap_ms: int = 20
    tokens: int = 100

    @property
    def seconds(self) -> float:
        """The length of an answer that nothing delays."""
        return (self.first_ms + self.gap_ms * (self.tokens - 1)) / 1000

    @property
    def model(self) -> str:
        """The model name that asks for this pace."""
        return f"fake-{self.first_ms}-{self.gap_ms}-{self.tokens}"


INSTANT = Pace(first_ms=0, gap_ms=0, tokens=20)
WAITING = Pace(first_ms=1000, gap_ms=50, tokens=21)  # whoever asks it has little to do meanwhile


def pace_of(model: str, otherwise: Pace) -> Pace:
    """Read the pace out of a model's name, or return the other one when it holds none."""
    found = re.search(r"fake-(\d+)-(\d+)-(\d+)$", model)
    if found is None:
        return otherwise
    first_ms, gap_ms, tokens = map(int, found.groups())
    return Pace(first_ms, gap_ms, max(tokens, 1))


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def _event(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
    choices = [] if "usage" in more else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "fake",
    }
    return b"data: %s\n\n" % orjson.dumps({**head, "choices": choices, **more})


def words(number: int, tokens: int) -> Iterator[str]:
    """Yield an answer's tokens; the first carries its number, so that mixed-up streams are seen."""
    yield f"Ответ {number}:"
    for word in islice(cycle(WORDS), tokens - 1):
        yield " " + word


@cache
def _later_frames(tokens: int) -> tuple[bytes, ...]:
    """Render all tokens but the first, which is each answer's own."""
    return tuple(_chunk(_event({"content": word})) for word in islice(words(0, tokens), 1, None))


def _usage(asked: bytes, tokens: int) -> dict[str, int]:
    prompt = len(asked) // 4
    return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


class Stream:
    """One answer under way: its frames, and how many of them are written."""

    __slots__ = ("frames", "gap", "started", "transport", "written")

    def __init__(
        self, transport: asyncio.Transport, pace: Pace, asked: bytes, *, usage: bool, now: float
    ) -> None:
        first = _event({"role": "assistant", "content": next(words(next(NUMBERS), 1))})
        ending = _event({}, "stop") + (_event({}, usage=_usage(asked, pace.tokens)) if usage else b"")
        self.frames = [_chunk(first), *_later_frames(pace.tokens)]
        self.frames[-1] += _chunk(ending + b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self.transport = transport
        self.started = now + pace.first_ms / 1000
        self.gap = pace.gap_ms / 1000
        self.written = 0

    def write_what_is_due(self, now: float) -> float | None:
        """Write every token whose time has come; return when the next is due, or None at the end."""
        if self.transport.is_closing():
            return None
        if self.gap:
            due = min(int((now - self.started) / self.gap) + 1, len(self.frames))
        else:
            due = len(self.frames)
        if due > self.written:
            self.transport.write(b"".join(self.frames[self.written : due]))
            self.written = due
        return None if due == len(self.frames) else self.started + due * self.gap


class Wheel:
    """Wakes once for all streams that are due together, not once for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, list[Stream]] = {}

    def add(self, stream: Stream, due: float) -> None:
        """Have a stream write at a time of the loop's clock, or up to a tick later."""
        tick = ceil(due / TICK)
        if tick in self._due:
            self._due[tick].append(stream)
        else:
            self._due[tick] = [stream]
            self._loop.call_at(tick * TICK, self._turn, tick)

    def _turn(self, tick: int) -> None:
        now = max(self._loop.time(), tick * TICK)  # Timers may fire a hair early.
        for stream in self._due.pop(tick):
            due = stream.write_what_is_due(now + TICK / 10)
            if due is not None:
                self.add(stream, due)


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered in the order they come."""

    def __init__(self, wheel: Wheel, otherwise: Pace, loop: asyncio.AbstractEventLoop) -> None:
        self._wheel, self._otherwise, self._loop = wheel, otherwise, loop
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class.

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"(?i)\r\ncontent-length:\s*(\d+)", head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._received = rest[size:]
        self._answer(head, rest[:size])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST ") and b"/chat/completions" in head.split(b"\r\n", 1)[0]:
            asked = orjson.loads(body)
            pace = pace_of(asked["model"], self._otherwise)
            if asked.get("stream"):
                self._stream(pace, asked, body)
            else:
                self._loop.call_later(pace.seconds, self._write_json, _whole_answer(pace, body))
        elif head.startswith(b"GET ") and b"/models" in head.split(b"\r\n", 1)[0]:
            names = dict.fromkeys((self._otherwise.model, INSTANT.model, WAITING.model))
            self._write_json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        else:
            self._write_json({"error": {"message": "no such page"}}, b"404 Not Found")

    def _stream(self, pace: Pace, asked: dict[str, Any], body: bytes) -> None:
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        now = self._loop.time()
        stream = Stream(self._transport, pace, body, usage=usage, now=now)
        self._transport.write(STREAM_HEAD)
        if pace.first_ms:
            self._wheel.add(stream, stream.started)
        elif (due := stream.write_what_is_due(now)) is not None:
            self._wheel.add(stream, due)

    def _write_json(self, answer: dict[str, Any], status: bytes = b"200 OK") -> None:
        body = orjson.dumps(answer)
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)


def _whole_answer(pace: Pace, body: bytes) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(words(next(NUMBERS), pace.tokens))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "chatcmpl-fake", "object": "chat.completion", "created": 1_700_000_000, "model": "fake"}
    return {**head, "choices": [choice], "usage": _usage(body, pace.tokens)}


async def serve(otherwise: Pace, port: int) -> None:
    """Answer on the loopback until stopped; port 0 takes a free one and prints it."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    server = await loop.create_server(
        lambda: Connection(wheel, otherwise, loop), "127.0.0.1", port, backlog=2048
    )
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    pace = Pace()
    parser = argparse.ArgumentParser(prog="python -m bench.fake_model", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--first-ms", type=int, default=pace.first_ms)
    parser.add_argument("--gap-ms", type=int, default=pace.gap_ms)
    parser.add_argument("--tokens", type=int, default=pace.tokens)
    asked = parser.parse_args()
    uvloop.run(serve(Pace(asked.first_ms, asked.gap_ms, asked.tokens), asked.port))


if __name__ == "__main__":
    main()
