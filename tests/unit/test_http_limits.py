"""What a stranger's connection may cost, over real sockets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from engine.cli.http_limits import LimitedHttp

KEEP_ALIVE_SECONDS = 2
REQUEST = b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and say how long it was."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    text = str(size).encode()
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]}
    await send(head)
    await send({"type": "http.response.body", "body": text})


class Strict(LimitedHttp):
    """The production's limits, with less patience and room."""

    head_seconds = 0.5
    most_connections = 3


@pytest.fixture
async def port() -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            answer,
            http=Strict,
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server._serve([listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.002)
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


class Line:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Line":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self) -> bytes:
        """Return one answer's status line."""
        async with asyncio.timeout(5):
            head = await self._reader.readuntil(b"\r\n\r\n")
            await self._reader.read(1)
        return head.partition(b"\r\n")[0]

    async def hear_to_the_end(self) -> bytes:
        """Return all that is said until the server hangs up."""
        async with asyncio.timeout(5):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""


@contextmanager
def seconds(least: float, most: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began <= most


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Unfinished: " + b"x" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"X-Many: x\r\n" * 7_000,
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["one long field", "a field without an end", "many fields", "a long path"],
)
async def test_a_large_head_is_refused(port: int, head: bytes) -> None:
    line = await Line.open(port)
    try:
        for start in range(0, len(head), 20_000):
            line.say(head[start : start + 20_000])
            await asyncio.sleep(0.001)
    except ConnectionError:
        pass  # It has hung up already.

    said = await line.hear_to_the_end()

    line.writer.close()
    assert said.startswith(b"HTTP/1.1 431 ") or said == b""  # A reset may overtake the words.


async def test_a_large_head_in_small_pieces_is_told_431(port: int) -> None:
    line = await Line.open(port)
    line.say(b"GET / HTTP/1.1\r\nX-Long: ")
    for _ in range(17):
        await asyncio.sleep(0.01)
        line.say(b"x" * 4096)

    said = await line.hear_to_the_end()

    line.writer.close()
    assert said.startswith(b"HTTP/1.1 431 ")


async def test_fields_after_the_body_are_limited_too(port: int) -> None:
    line = await Line.open(port)
    line.say(b"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
    line.say(b"X-Trailer: x\r\n" * 6_000)

    said = await line.hear_to_the_end()

    line.writer.close()
    assert b" 431 " in said or said == b""


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: eng", b"\r\n\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(port: int, start: bytes) -> None:
    line = await Line.open(port)
    line.say(start)

    with seconds(0.3, 1.5):
        assert await line.hear_to_the_end() == b""
    line.writer.close()


async def test_one_byte_at_a_time_buys_no_time(port: int) -> None:
    line = await Line.open(port)
    with seconds(0.3, 1.5):
        ended = asyncio.create_task(line.hear_to_the_end())
        for byte in b"GET / HTTP/1.1\r\n" + b"x" * 50:
            line.say(bytes([byte]))
            await asyncio.wait([ended], timeout=0.05)
            if ended.done():
                break
        assert await ended == b""
    line.writer.close()


async def test_an_idle_connection_keeps_its_own_time(port: int) -> None:
    line = await Line.open(port)
    line.say(REQUEST)
    assert await line.hear() == b"HTTP/1.1 200 OK"
    await asyncio.sleep(3 * Strict.head_seconds)

    line.say(REQUEST)

    assert await line.hear() == b"HTTP/1.1 200 OK"
    line.writer.close()


async def test_empty_lines_after_an_answer_do_not_hold_a_connection(port: int) -> None:
    line = await Line.open(port)
    line.say(REQUEST)
    await line.hear()

    line.say(b"\r\n")

    with seconds(0.3, 1.5):
        await line.hear_to_the_end()
    line.writer.close()


async def test_a_slow_and_large_body_is_no_head(port: int) -> None:
    line = await Line.open(port)
    line.say(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 200000\r\n\r\n")
    for _ in range(10):
        line.say(b"x" * 20_000)
        await asyncio.sleep(0.1)

    assert await line.hear() == b"HTTP/1.1 200 OK"
    line.writer.close()


async def test_too_many_connections_are_refused_until_others_leave(port: int) -> None:
    lines = [await Line.open(port) for _ in range(Strict.most_connections)]
    for line in lines:
        line.say(REQUEST)
        assert await line.hear() == b"HTTP/1.1 200 OK"
    refused = await Line.open(port)

    assert (await refused.hear_to_the_end()).startswith(b"HTTP/1.1 503 ")

    lines[0].writer.close()
    await lines[0].writer.wait_closed()
    await asyncio.sleep(0.05)
    welcome = await Line.open(port)
    welcome.say(REQUEST)
    assert await welcome.hear() == b"HTTP/1.1 200 OK"
    for line in (*lines[1:], refused, welcome):
        line.writer.close()
