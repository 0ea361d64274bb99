"""How fast one bot may talk: 25 messages a second, one a second in a chat, 20 a minute in a group."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from engine.domains.notifications import DeliveryDelayed

SECONDS = 1 / 25
CHAT_SECONDS = 1.0
GROUP_SECONDS = 3.0
LONGEST_WAIT_SECONDS = 20.0
MOST_CHATS = 10_000


class Pace:
    """Gives turns to messages; one process talks for a bot, so this is all there is to it."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._free_at = 0.0
        self._chats: dict[int, float] = {}  # when each may be talked to again
        self._turns: dict[int, asyncio.Lock] = {}

    async def turn(self, chat_id: int) -> None:
        """Wait until something may be said in a chat; raise DeliveryDelayed when that is too long to wait."""
        lock = self._turns.setdefault(chat_id, asyncio.Lock())
        async with lock:
            while self._chats.get(chat_id, 0.0) > self._now():  # It may have been held meanwhile.
                await self._wait(self._chats[chat_id])
            # Nobody else waits for the whole bot's turn while this chat's is waited for.
            slot = max(self._now(), self._free_at)
            self._free_at = slot + SECONDS
            await self._wait(slot)
            self._chats[chat_id] = max(
                self._chats.get(chat_id, 0.0), self._now() + (GROUP_SECONDS if chat_id < 0 else CHAT_SECONDS)
            )
        if len(self._chats) > MOST_CHATS:
            self._forget()

    def hold(self, chat_id: int, seconds: float) -> None:
        """Say nothing in a chat for a while, as Telegram wishes."""
        self._chats[chat_id] = max(self._chats.get(chat_id, 0.0), self._now() + seconds)

    async def _wait(self, until: float) -> None:
        wait = until - self._now()
        if wait > LONGEST_WAIT_SECONDS:
            raise DeliveryDelayed("it is not this chat's turn for a while", retry_after_seconds=wait)
        if wait > 0:
            await self._sleep(wait)

    def _forget(self) -> None:
        now = self._now()
        self._chats = {chat_id: until for chat_id, until in self._chats.items() if until > now}
        self._turns = {chat_id: lock for chat_id, lock in self._turns.items() if lock.locked()}
