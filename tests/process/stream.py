"""A stream of server-sent events, read byte by byte."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `no` is None for those that nobody resumes from."""

    no: int | None
    kind: str
    data: dict[str, Any]


class Stream:
    """One connection that follows something, read byte by byte if need be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unread: deque[int] = deque()
        self._event = bytearray()
        self.bytes_read = 0
        self.comments = 0
        self.headers = b""

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        token: str,
        *,
        last_event_id: int | None = None,
        body: object = None,
        host: str = "127.0.0.1",
    ) -> "Stream":
        """Connect and read the head of the answer; with a body it is a POST."""
        reader, writer = await asyncio.open_connection(host, port)
        content = b"" if body is None else json.dumps(body).encode()
        head = [
            f"{'GET' if body is None else 'POST'} {API}{path} HTTP/1.1",
            "Host: engine",
            f"Authorization: Bearer {token}",
            "Accept: text/event-stream",
        ]
        if last_event_id is not None:
            head.append(f"Last-Event-ID: {last_event_id}")
        if content:
            head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        writer.write("\r\n".join([*head, "", ""]).encode() + content)
        stream = cls(reader, writer)
        try:
            stream.headers = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as gone:
            writer.close()
            raise ConnectionResetError("the engine hung up before it answered") from gone
        status = int(stream.headers.split(b" ", 2)[1])
        if status not in (200, 201):
            stream.close()
            raise AssertionError(f"{path}: HTTP {status}")
        return stream

    def close(self) -> None:
        """Let the connection end without a word."""
        self._writer.transport.abort()

    async def events(self, cut_after_bytes: int | None = None) -> AsyncGenerator[Event, None]:
        """Give the events until the stream ends, or until so many bytes of it were read and it is cut."""
        try:
            while True:
                while self._unread:
                    event = self._take_byte()
                    if event is not None:
                        yield event
                    if self.bytes_read == cut_after_bytes:
                        self.close()
                        return
                size = await self._chunk_size()
                if not size:
                    return
                self._unread.extend((await self._reader.readexactly(size + 2))[:size])
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def _take_byte(self) -> Event | None:
        self._event.append(self._unread.popleft())
        self.bytes_read += 1
        return self._parse() if self._event.endswith(b"\n\n") else None

    async def _chunk_size(self) -> int:
        return int((await self._reader.readuntil(b"\r\n")).strip(), 16)

    def _parse(self) -> Event | None:
        number, kind, data = None, "message", b""
        for line in bytes(self._event).split(b"\n"):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"id":
                number = int(value)
            elif name == b"event":
                kind = value.decode()
            elif name == b"data":
                data += value
            elif line.startswith(b":"):
                self.comments += 1
        self._event.clear()
        return Event(number, kind, json.loads(data)) if data else None
