"""Telegram's side of the post: one process at a time talks for the bot, and hears what it is told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from engine.adapters.telegram import TelegramBot, TelegramCourier
from engine.core.database import Database
from engine.core.errors import Refusal
from engine.core.logging import log
from engine.domains import notifications
from engine.domains.notifications import Office, TelegramStirred
from engine.postman.conversation import Conversation
from engine.postman.loops import keep_alive, sleep_until
from engine.postman.sender import Sender

LEASE = "telegram"
LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
AGAIN_SECONDS = 5.0
MOST_TRIES = 5
AT_ONCE = 25


class Telegraph:
    """Talks and listens for one bot until cancelled, while no other process does."""

    def __init__(
        self,
        database: Database,
        office: Office,
        bot: TelegramBot,
        *,
        is_called: bool = False,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self._database = database
        self._office = office
        self._bot = bot
        self._is_called = is_called
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._holder = uuid4().hex
        self._conversation = Conversation(database, bot)
        self._sender = Sender(database, office, TelegramCourier(office, bot), at_once=AT_ONCE)
        self._wake = asyncio.Event()
        database.feed.on(TelegramStirred, lambda _: self._wake.set())

    async def run(self) -> None:
        """Work until cancelled; then another process may take over at once."""
        naming = asyncio.create_task(keep_alive("name of the bot", self._learn_name))
        try:
            await keep_alive("telegram", self._take_turns)
        finally:
            naming.cancel()
            await asyncio.gather(naming, return_exceptions=True)
            await self._bot.close()

    async def _learn_name(self) -> None:
        """Find out what the bot is called, for the links by which chats are bound."""
        while True:
            try:
                self._office.bot_name = await self._bot.name()
                await asyncio.sleep(3600)
            except Refusal as trouble:
                log.warning("telegram_not_reached", detail=trouble.message)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _take_turns(self) -> None:
        while True:
            if await self._hold():
                await self._work_while_ours()
            await asyncio.sleep(self._renew_seconds)

    async def _hold(self) -> bool:
        async with self._database.across_organizations(reason="one process talks for the bot") as across:
            return await notifications.take_lease(
                across, name=LEASE, holder=self._holder, seconds=self._lease_seconds
            )

    async def _work_while_ours(self) -> None:
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("send telegram", self._sender.run),
            ("hear telegram", self._hear),
            ("telegram calls", self._be_called) if self._is_called else ("ask telegram", self._ask),
        ]
        tasks = [asyncio.create_task(keep_alive(name, loop)) for name, loop in loops]
        try:
            while True:
                await asyncio.sleep(self._renew_seconds)
                if not await self._hold():
                    log.warning("telegram_taken_over")
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._sender.finish()
            async with self._database.across_organizations(reason="another may talk for the bot") as across:
                await notifications.leave_lease(across, name=LEASE, holder=self._holder)

    async def _be_called(self) -> None:
        """Have Telegram call the engine with what it tells."""
        url, secret = self._office.telegram_url, self._office.telegram_secret
        if url is None or secret is None:
            log.error("telegram_cannot_call", advice="RUGPT_TELEGRAM_UPDATES=webhook needs RUGPT_PUBLIC_URL")
            await asyncio.sleep(3600)
            return
        await self._patiently(lambda: self._bot.be_called(url, secret=secret))
        await asyncio.sleep(3600)

    async def _ask(self) -> None:
        """Ask Telegram what was told; what was stored is acknowledged by the next question."""
        await self._patiently(self._bot.be_asked)
        while True:
            async with self._database.across_organizations(reason="what Telegram told") as across:
                after = await notifications.last_update(across, bot_id=self._bot.id)
            try:
                told = await self._bot.updates(after=after)
            except Refusal as trouble:
                log.warning("telegram_not_reached", detail=trouble.message)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if told:
                async with self._database.across_organizations(reason="what Telegram told") as across:
                    await notifications.keep_updates(across, bot_id=self._bot.id, contents=told)
                self._wake.set()

    async def _patiently(self, ask: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await ask()
                return
            except Refusal as trouble:
                log.warning("telegram_not_reached", detail=trouble.message)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _hear(self) -> None:
        """Work on what was stored, in its order; what fails is tried again, a few times."""
        while True:
            async with self._database.across_organizations(reason="what Telegram told") as across:
                waiting = await notifications.waiting_updates(across, bot_id=self._bot.id)
            failed = [update for update in waiting if not await self._hear_one(*update)]
            if len(waiting) == len(failed):
                await sleep_until(self._wake, 1.0 if failed else None)

    async def _hear_one(self, update_id: int, content: dict[str, Any], tries: int) -> bool:
        async with self._database.across_organizations(reason="what Telegram told") as across:
            await notifications.begin_update(across, bot_id=self._bot.id, update_id=update_id)
        try:
            await self._conversation.hear(content)
        except Refusal as refusal:  # Telegram, or the database, is away.
            log.warning("telegram_not_answered", code=refusal.code, update_id=update_id)
            if tries + 1 < MOST_TRIES:
                return False
        except Exception:  # noqa: BLE001 - what breaks us must not keep the others waiting
            log.exception("telegram_update_failed", update_id=update_id)
            if tries + 1 < MOST_TRIES:
                return False
        async with self._database.across_organizations(reason="what Telegram told") as across:
            await notifications.finish_update(across, bot_id=self._bot.id, update_id=update_id)
        return True
