"""A response of server-sent events that takes one task beside the request's own."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Message, Receive, Scope, Send

from engine.core.logging import log

HEARTBEAT = b": still here\n\n"
HEADERS = {"Cache-Control": "no-store"}  # The library adds that Nginx must not hold events back.


class EventStream(EventSourceResponse):
    """Sends encoded events; the library's own way to send them starts four tasks a stream."""

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        heartbeat_seconds: float,
        send_seconds: float,
        leave: Callable[[], None],
    ) -> None:
        super().__init__(events, headers=HEADERS)
        self._events = events
        self._heartbeat_seconds = heartbeat_seconds
        self._send_seconds = send_seconds
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until they end, the reader leaves, or it stands still."""
        presence = asyncio.timeout(None)
        try:
            async with presence:
                await self._tell(receive, send, presence)
        except SendTimeoutError:
            self._drop()
        except TimeoutError:
            if not presence.expired():
                raise  # Not the reader's absence: something of ours took too long.
        finally:
            self._leave()  # Here, because a reader may be gone before the first event is asked for.

    async def _tell(self, receive: Receive, send: Send, presence: asyncio.Timeout) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        watch = asyncio.create_task(self._watch(receive, send, presence))
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    await self._send_in_time(send, event)
        finally:
            watch.cancel()
        # The heartbeat is over before the end is told: nothing may follow it.
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self, receive: Receive, send: Send, presence: asyncio.Timeout) -> None:
        """Send heartbeats until the reader leaves or takes none, and end the stream then."""
        try:
            while not await self._has_left(receive):
                await self._send_in_time(send, HEARTBEAT)
        except SendTimeoutError:
            self._drop()
        finally:
            # However it ended: a stream that nobody watches would never hear that its reader left.
            if not _is_being_cancelled():
                presence.reschedule(0)

    async def _has_left(self, receive: Receive) -> bool:
        """Wait for the reader to leave, no longer than until the next heartbeat."""
        try:
            async with asyncio.timeout(self._heartbeat_seconds):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    async def _send_in_time(self, send: Send, body: bytes) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": True}
        try:
            async with asyncio.timeout(self._send_seconds):
                await send(message)
        except TimeoutError:
            raise SendTimeoutError from None

    def _drop(self) -> None:
        log.info("reader_dropped", seconds=self._send_seconds)  # It stood still; that is no bug of ours.


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
