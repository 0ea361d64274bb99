"""An event loop in a thread of its own, for an actor whose work must not wait for Ray's calls."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from engine.core.logging import log

BEAT_SECONDS = 0.5


class LoopThread:
    """Runs `work` from now on, with an event that asks it to end; ends the process when it fails."""

    def __init__(self, name: str, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        self._work = work
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def still_seconds(self) -> float:
        """For how long the loop has not come round."""
        return monotonic() - self._beat

    def stop_soon(self) -> None:
        """Ask the work to end."""
        if self._loop is None:
            self._stop.set()  # It has not begun: nobody waits for it yet.
        else:
            self.soon(self._stop.set)

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function on the loop; nothing happens when that has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *arguments)

    def stop(self, seconds: float) -> bool:
        """Ask the work to end; False when that took too long."""
        self.stop_soon()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._beating())
        except Exception:  # noqa: BLE001 - whatever it was, an actor that idles would be worse
            log.exception("actor_failed", what=self._thread.name)
            os._exit(1)  # Ray starts the actor anew.

    async def _beating(self) -> None:
        self._loop = asyncio.get_running_loop()
        beating = asyncio.create_task(self._beat_on())
        try:
            await self._work(self._stop)
        finally:
            beating.cancel()

    async def _beat_on(self) -> None:
        while True:
            self._beat = monotonic()
            await asyncio.sleep(BEAT_SECONDS)
