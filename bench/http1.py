"""The least of HTTP/1.1 and SSE that a load client needs, at a few microseconds an event."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson


class BadAnswer(Exception):
    """A server sent what this small client cannot read, or hung up in the middle."""


class Event(NamedTuple):
    """One server-sent event."""

    name: bytes
    data: bytes


class EventReader:
    """Cuts a body into server-sent events, however its bytes are split and whichever its line ends."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def unread(self) -> bytes:
        """What came after the last whole event: all of it, when the body holds no events."""
        return self._rest

    def feed(self, body: bytes) -> list[Event]:
        """Take more of the body and return the events that are now complete."""
        text = self._rest + body
        held = b""
        if b"\r" in text:
            if text.endswith(b"\r"):  # Perhaps half a line end.
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = text.split(b"\n\n")
        self._rest = rest + held
        return [event for block in blocks if (event := _event(block)) is not None]


def _event(block: bytes) -> Event | None:
    """Read one event's lines; return None when they hold nothing but comments."""
    name, data = b"message", None
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value
    return None if data is None else Event(name, data)


class AnswerReader:
    """Takes one HTTP answer apart; `done` turns true at its end."""

    def __init__(self) -> None:
        self.status = 0
        self.done = False
        self.keep_alive = True
        self._rest = b""
        self._left: int | None = None
        self._chunked = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they come from the socket and return those that belong to the body."""
        data = self._rest + data
        self._rest = b""
        if not self.status:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return b""
            self._read_head(head)
        if self._chunked:
            return self._unchunk(data)
        if self._left is not None:
            self._left -= len(data)
            self.done = self._left <= 0
        return data

    def hang_up(self) -> None:
        """Note that the connection closed, which ends a body that had no length."""
        self.done = bool(self.status) and not self._chunked and self._left is None

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.lower().split(b"\r\n")
        try:
            self.status = int(first.split(b" ", 2)[1])
        except (IndexError, ValueError) as error:
            raise BadAnswer(f"not HTTP: {first[:80]!r}") from error
        for line in lines:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._left = int(value)
            elif name == b"transfer-encoding":
                self._chunked = b"chunked" in value
            elif name == b"connection":
                self.keep_alive = b"close" not in value
        if self.status == 204:
            self._left = 0

    def _unchunk(self, data: bytes) -> bytes:
        bodies = []
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:end].partition(b";")[0], 16)
            after = end + 2 + size + 2
            if after > len(data):
                break
            bodies.append(data[end + 2 : after - 2])
            at = after
            if size == 0:
                self.done = True
                break
        self._rest = data[at:]
        return b"".join(bodies)


class Connection(asyncio.Protocol):
    """A keep-alive connection to a server on the loopback, with one request under way at most."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader()
        self._ended: asyncio.Future[int] | None = None
        self._take: Callable[[bytes], None]

    async def connect(self) -> None:
        """Open the connection now, unless it is open; `ask` does so by itself."""
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self._port)

    async def ask(self, request: bytes, take: Callable[[bytes], None]) -> int:
        """Send a request, hand `take` its body piece by piece, and return the status at the end."""
        await self.connect()
        assert self._transport is not None
        self._reader, self._take = AnswerReader(), take
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._ended
        finally:
            # An answer nobody waits for any more must not be taken for the next one's.
            if self._ended.cancelled() or not self._reader.keep_alive:
                self.close()
            self._ended = None

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._ended is None or self._ended.done():
            return
        try:
            body = self._reader.feed(data)
            if body:
                self._take(body)
        except (BadAnswer, ValueError) as error:
            self._ended.set_exception(BadAnswer(str(error)))
            self.close()
            return
        if self._reader.done:
            self._ended.set_result(self._reader.status)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._ended is None or self._ended.done():
            return
        self._reader.hang_up()
        if self._reader.done:
            self._ended.set_result(self._reader.status)
        else:
            self._ended.set_exception(BadAnswer("the server hung up in the middle of an answer"))


def request(
    method: str,
    path: str,
    content: Any = None,
    *,
    token: str = "",
    accept: str = "application/json",
    is_last: bool = False,
) -> bytes:
    """Render a request with a JSON body, or none; after the last one the server hangs up."""
    body = b"" if content is None else orjson.dumps(content)
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Accept: {accept}"]
    if token:
        head.append(f"Authorization: Bearer {token}")
    if is_last:
        head.append("Connection: close")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


async def call(connection: Connection, request: bytes) -> tuple[int, Any]:
    """Ask once and return the status and the decoded JSON body, None when it is empty or no JSON."""
    pieces: list[bytes] = []
    status = await connection.ask(request, pieces.append)
    try:
        return status, orjson.loads(b"".join(pieces))
    except orjson.JSONDecodeError:
        return status, None
