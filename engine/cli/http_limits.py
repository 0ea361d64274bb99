"""What a stranger's connection may cost: bytes and seconds of a request's head, and how many there are."""

import asyncio
import resource
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from engine.core.logging import log

_OTHER_FILES = 256  # The database's connections, the model's, logs and the listener need some too.


class HeadTooLarge(Exception):
    """A request's head, or the fields after its body, have more bytes than anybody needs."""


class LimitedHttp(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 that holds little of an unfinished request, and that not for long."""

    most_head_bytes: ClassVar[int] = 64 * 1024
    head_seconds: ClassVar[float] = 15.0
    most_connections: ClassVar[int] = 4096

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_bytes = 0  # What the parser has handed over of the head, or of trailing fields.
        self._held_bytes = 0  # What it has taken in since, and keeps or skips.
        self._is_reading_head = False
        self._has_heard = False
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            log.warning("too_many_connections", connections=len(self.connections))
            self._refuse(503, "Too many connections.")
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._has_heard = False
        super().data_received(data)
        if self.transport.is_closing():
            self._stop_waiting()
            return
        if not self._has_heard:
            self._held_bytes += len(data)
            if self._head_bytes + self._held_bytes > self.most_head_bytes:
                self._refuse(431, "The request's head is too large.")
                return
        # Bytes end uvicorn's wait for the next request, even those that begin none.
        cycle: RequestResponseCycle | None = self.cycle
        if self._is_reading_head or cycle is None or cycle.response_complete:
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > self.most_head_bytes:
            self._refuse(431, "The request's head is too large.")
        else:
            super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a stranger would write our log, two lines a request."""

    def on_message_begin(self) -> None:
        self._heard()
        self._head_bytes = 0
        self._is_reading_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._heard(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._heard(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._heard()
        self._is_reading_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._heard()
        super().on_body(body)

    def _heard(self, head_bytes: int = 0) -> None:
        self._has_heard = True
        self._held_bytes = 0
        self._head_bytes += head_bytes
        if self._head_bytes > self.most_head_bytes:
            raise HeadTooLarge  # The parser makes an error of its own of it; see send_400_response.

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self.flow.read_paused:
            self._expect_head()  # It is we who do not read on: an earlier request is at work.
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        self._stop_waiting()
        text = why.encode("ascii")
        fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + fields % len(text) + text)
        self.transport.close()


def make_room() -> int:
    """Let this process open as many files as its connections may need; return how many may connect."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LimitedHttp.most_connections + _OTHER_FILES
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        soft = wanted if hard == unlimited else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = LimitedHttp.most_connections
    return most if soft == unlimited else max(_OTHER_FILES // 2, min(most, soft - _OTHER_FILES))
