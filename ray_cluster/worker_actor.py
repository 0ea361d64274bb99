"""An actor that hosts one of the engine's workers."""

import asyncio
import contextlib
import os
import threading
from pathlib import Path

from engine.bootstrap import open_worker
from engine.core.logging import log, set_up_logging
from ray_cluster.sealed import unseal

STOP_SECONDS = 9.0


class WorkerActor:
    """One worker in one process; `ray.remote` is applied where it is started.

    It works from the moment it is made, so that one that Ray has restarted works again by itself. The
    worker has a thread and an event loop of its own: Ray's calls never wait for it, nor it for them.
    """

    def __init__(self, sealed: bytes, token_path: str) -> None:
        self._settings = unseal(sealed, Path(token_path).read_bytes().strip())
        set_up_logging(self._settings.log_level)
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def is_working(self) -> bool:
        """Whether the worker's thread lives."""
        return self._thread.is_alive()

    def stop(self) -> bool:
        """Hand unfinished runs back and end; False when that took too long."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # It has ended by itself.
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            asyncio.run(self._host())
        except Exception:  # noqa: BLE001 - whatever it was, an actor that idles would be worse
            log.exception("worker_actor_failed")
            os._exit(1)  # Ray starts the actor anew.

    async def _host(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with open_worker(self._settings):
            await self._stop.wait()
