"""Keeps a loop alive, and lets it sleep until there is something to do."""

import asyncio
from collections.abc import Awaitable, Callable

from engine.core.database import DatabaseAway
from engine.core.logging import log

POLL_SECONDS = 5.0  # Wakes come by the feed; this finds what it lost.
SHORTEST_SECONDS = 0.2
RESTART_SECONDS = 1.0


async def keep_alive(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop until cancelled; one that fails is logged and started anew."""
    while True:
        try:
            await loop()
        except DatabaseAway:
            log.warning("postman_waits_for_database", loop=name)
        except Exception:  # noqa: BLE001 - whatever it was, people must still be told
            log.exception("postman_loop_failed", loop=name)
        await asyncio.sleep(RESTART_SECONDS)


async def sleep_until(wake: asyncio.Event, seconds: float | None) -> None:
    """Sleep until woken or until something is due, some seconds at most."""
    pause = POLL_SECONDS if seconds is None else min(max(seconds, SHORTEST_SECONDS), POLL_SECONDS)
    try:
        async with asyncio.timeout(pause):
            await wake.wait()
    except TimeoutError:
        pass
    wake.clear()
