"""Roles that search do so two at a time, and whoever gives up waiting makes room."""

import asyncio
from typing import Any

import pytest

from engine.core.database import Database
from engine.domains import chats
from engine.worker import context
from engine.worker.worker import SEARCHES_AT_ONCE
from tests.unit.scripted_model import SHIPPED
from tests.world import World


async def test_no_more_than_two_search_at_once_and_none_waits_for_those_who_gave_up(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm = await world.organization()
    await world.ask(firm.admin, await world.chat(firm.admin), "@@lawyer, что с договором?")
    (claim,) = await world.claim()
    searches = asyncio.Semaphore(SEARCHES_AT_ONCE)
    at_once: list[int] = []
    now = 0
    real = chats.search_messages

    async def slow(*given: Any, **named: Any) -> list[chats.Line]:
        nonlocal now
        now += 1
        at_once.append(now)
        try:
            await asyncio.sleep(0.05)
            return await real(*given, **named)
        finally:
            now -= 1

    monkeypatch.setattr(chats, "search_messages", slow)

    async def search() -> int:
        return len(await context._search(database, searches, SHIPPED, claim, "договор", 5))

    async with asyncio.timeout(10):
        given_up = [asyncio.create_task(search()) for _ in range(6)]
        await asyncio.sleep(0.02)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        found = await asyncio.gather(*(search() for _ in range(8)))

    assert found == [1] * 8
    assert max(at_once) == SEARCHES_AT_ONCE
