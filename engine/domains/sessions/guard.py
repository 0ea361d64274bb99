"""Knows which sessions have ended, so that a request needs no query to learn that its own has not."""

import asyncio
from collections.abc import Callable
from time import monotonic
from uuid import UUID

from engine.core.database import Database
from engine.core.logging import log
from engine.domains.sessions import repository
from engine.domains.sessions.errors import SessionOver
from engine.domains.sessions.models import SessionEnded

_EVERY_SECONDS = 2.0
_BLIND_AFTER_SECONDS = 5.0
_POLL_SECONDS = 4.0  # for one look; then the next one is tried
_MARGIN_SECONDS = 60.0  # Clocks differ, and a transaction may commit later than it says.


class SessionGuard:
    """Remembers the sessions that ended within the life of an access token.

    It hears of those that end in this process at once and asks for the others every two seconds. When
    it could not ask for five seconds it says so by being blind, and `check` asks the database itself.
    """

    def __init__(
        self,
        database: Database,
        *,
        lifetime_seconds: int,
        every_seconds: float = _EVERY_SECONDS,
        blind_after_seconds: float = _BLIND_AFTER_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._database = database
        self._keep_seconds = lifetime_seconds + _MARGIN_SECONDS
        self._every_seconds = every_seconds
        self._blind_after_seconds = blind_after_seconds
        self._clock = clock
        self._ended: dict[UUID, float] = {}
        self._listeners: list[Callable[[UUID], None]] = []
        self._looked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        database.feed.on(SessionEnded, lambda item: self._note([item.session_id]))

    async def start(self) -> None:
        """Learn what ended lately, and keep looking until `stop`."""
        await self.look()
        self._task = asyncio.create_task(self._keep_looking(), name="session-guard")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is None:
            return
        self._stopping.set()  # Not cancelled: that would break off a query and cost a connection.
        await self._task
        self._task = None

    def on_end(self, listener: Callable[[UUID], None]) -> Callable[[], None]:
        """Call `listener(session_id)` once for each session that ends; call what is returned to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def is_ended(self, session_id: UUID) -> bool:
        """Tell whether a session is known to have ended; trust a False only while not `is_blind`."""
        return session_id in self._ended

    @property
    def is_blind(self) -> bool:
        """Whether the last successful look was too long ago."""
        return self._clock() - self._looked_at > self._blind_after_seconds

    async def check(self, *, org_id: UUID, session_id: UUID) -> None:
        """Raise SessionOver for a session that has ended; the database is asked only by a blind guard."""
        if session_id in self._ended:
            raise SessionOver
        if self.is_blind:
            async with self._database.as_organization(org_id) as tx:
                if not await repository.is_session_live(tx, session_id=session_id):
                    raise SessionOver

    async def look(self) -> None:
        """Ask the database once what ended lately."""
        started_at = self._clock()
        async with (
            asyncio.timeout(_POLL_SECONDS),
            self._database.across_organizations(reason="ended sessions") as across,
        ):
            found = await repository.recently_ended(across, seconds=self._keep_seconds)
        self._note(found)
        self._looked_at = started_at
        self._forget()

    def _note(self, session_ids: list[UUID]) -> None:
        for session_id in session_ids:
            if session_id in self._ended:
                continue
            self._ended[session_id] = self._clock()
            for listener in list(self._listeners):
                try:
                    listener(session_id)
                except Exception:  # noqa: BLE001 - one stream's bug must not keep another one open
                    log.exception("session_listener_failed")

    def _forget(self) -> None:
        # Seen later than it ended, so what is forgotten here is older than any token of it.
        horizon = self._clock() - self._keep_seconds
        for session_id in [each for each, seen_at in self._ended.items() if seen_at < horizon]:
            del self._ended[session_id]

    async def _keep_looking(self) -> None:
        while not await self._is_stopped_within(self._every_seconds):
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look may succeed
                log.warning("session_guard_cannot_look", error=repr(error), blind=self.is_blind)

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
