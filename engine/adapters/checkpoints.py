"""Where councils keep their finished steps: LangGraph's own saver, behind the fence of one organization."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING
from uuid import UUID

from engine.core.logging import log

if TYPE_CHECKING:
    from engine.adapters.checkpoint_saver import CheckpointSaver

# A council holds a connection of its own while it sits, and a server has a few hundred for everybody.
MOST_CONNECTIONS = 16


class Checkpoints:
    """Opens savers on one database; each sees the rows of one organization and nobody else's."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open = 0

    @asynccontextmanager
    async def open(self, org_id: UUID) -> "AsyncIterator[CheckpointSaver | None]":
        """Give a saver, or None when there is none to be had.

        A run without one is as good as any other, until its worker dies: then everybody is asked again.
        To fail it for that would be worse, so what cannot be kept is logged and goes unkept.
        """
        if self._open >= MOST_CONNECTIONS:
            log.warning("checkpoints_not_kept", org_id=str(org_id), error="too many councils at once")
            yield None
            return
        self._open += 1
        try:
            # psycopg is in the memory of those who need it: the engine's own way to Postgres is asyncpg.
            savers = await asyncio.to_thread(import_module, "engine.adapters.checkpoint_saver")
            saver: CheckpointSaver | None = await savers.connect(self._url, org_id)
            try:
                yield saver
            finally:
                if saver is not None:
                    await saver.close()
        finally:
            self._open -= 1
