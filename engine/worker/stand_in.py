"""Works runs in the engine's own process for as long as no worker elsewhere does."""

import asyncio
from collections.abc import Callable

from engine.core.logging import log
from engine.worker.host import WorkerHost, WorkersElsewhere

LOOK_SECONDS = 0.25


class StandIn:
    """A worker that is there at once, and again when those elsewhere fall silent; `run` until cancelled."""

    def __init__(self, make_host: Callable[[], WorkerHost], elsewhere: WorkersElsewhere) -> None:
        self._make_host = make_host
        self._elsewhere = elsewhere
        self._host: WorkerHost | None = None
        self._working: asyncio.Task[None] | None = None
        self._is_retired = False

    def retire(self) -> None:
        """Take no more runs from now on: the engine ends, and so its workers fall silent."""
        self._is_retired = True
        if self._host is not None:
            self._host.rest(True)

    async def run(self) -> None:
        """Stand in whenever it is needed; runs in hand at the end are handed back."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._leave()

    async def _look(self) -> None:
        if self._is_retired:
            return
        if not self._elsewhere.are_ready():
            if self._host is None:
                log.info("standing_in")
                self._host = self._make_host()
                self._working = asyncio.create_task(self._host.run())
            self._host.rest(False)
        elif self._host is not None:
            self._host.rest(True)  # Those in hand end here: nobody's answer is begun anew.
            if not self._host.runs_in_hand:
                await self._leave()
                log.info("stood_in")

    async def _leave(self) -> None:
        host, working, self._host, self._working = self._host, self._working, None, None
        if host is not None and working is not None:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
