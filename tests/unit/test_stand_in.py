"""The engine's own worker, which is there until Ray's are, and again when they have fallen silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from engine.core.database import Database
from engine.core.feed import Feed
from engine.domains.runs import WorkerSeen
from engine.worker import StandIn, WorkerHost, WorkersElsewhere, stand_in
from tests.process.engine import eventually

READY, UNREADY = {"ready": True, "name": "qwen"}, {"ready": False}


class Host:
    """A worker in name only."""

    def __init__(self) -> None:
        self.is_resting = False
        self.runs_in_hand = 0
        self.is_working = False

    def rest(self, is_resting: bool) -> None:
        self.is_resting = is_resting

    async def run(self) -> None:
        self.is_working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_working = False


class Place:
    """A process that stands in, with a clock and a feed that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hosts: list[Host] = []
        self.feed = Feed()
        database = cast("Database", type("OfFeed", (), {"feed": self.feed}))
        self.elsewhere = WorkersElsewhere(database, lambda: self.now)

    def new_host(self) -> WorkerHost:
        self.hosts.append(Host())
        return cast("WorkerHost", self.hosts[-1])

    def hear(self, worker: str, state: dict[str, Any], *, stands_in: bool = False) -> None:
        self.feed.send(WorkerSeen(worker, state, stands_in))

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(StandIn(self.new_host, self.elsewhere).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(stand_in, "LOOK_SECONDS", 0.001)
    return Place()


async def test_it_works_at_once_and_leaves_when_a_worker_that_stays_is_ready(place: Place) -> None:
    async with place.standing():
        await eventually(lambda: bool(place.hosts) and place.hosts[0].is_working)
        place.hear("ray-1", UNREADY)
        await asyncio.sleep(0.02)
        assert place.hosts[0].is_working
        assert not place.hosts[0].is_resting

        place.hear("ray-1", READY)
        await eventually(lambda: not place.hosts[0].is_working)
        await asyncio.sleep(0.02)

    assert len(place.hosts) == 1


async def test_it_ends_the_runs_in_hand_before_it_leaves_and_takes_no_more(place: Place) -> None:
    async with place.standing():
        await eventually(lambda: bool(place.hosts) and place.hosts[0].is_working)
        place.hosts[0].runs_in_hand = 2
        place.hear("ray-1", READY)
        await eventually(lambda: place.hosts[0].is_resting)
        await asyncio.sleep(0.02)
        assert place.hosts[0].is_working

        place.hosts[0].runs_in_hand = 0
        await eventually(lambda: not place.hosts[0].is_working)


async def test_it_takes_work_again_when_the_others_fall_silent(place: Place) -> None:
    async with place.standing():
        place.hear("ray-1", READY)
        await asyncio.sleep(0.02)
        assert place.hosts == []

        place.now += WorkersElsewhere.SILENT_SECONDS + 1
        await eventually(lambda: bool(place.hosts) and place.hosts[0].is_working)
        place.hosts[0].runs_in_hand = 1
        place.hear("ray-2", READY)
        await eventually(lambda: place.hosts[0].is_resting)
        place.now += WorkersElsewhere.SILENT_SECONDS + 1
        await eventually(lambda: not place.hosts[0].is_resting)

    assert len(place.hosts) == 1
    assert not place.hosts[0].is_working


async def test_those_that_stand_in_elsewhere_do_not_count(place: Place) -> None:
    async with place.standing():
        place.hear("other-process", READY, stands_in=True)
        await eventually(lambda: bool(place.hosts) and place.hosts[0].is_working)

        assert place.elsewhere.model_state() == {**READY, "workers": 0}


async def test_once_the_engine_ends_it_takes_nothing_more(place: Place) -> None:
    standing = StandIn(place.new_host, place.elsewhere)
    task = asyncio.create_task(standing.run())
    await eventually(lambda: bool(place.hosts) and place.hosts[0].is_working)
    standing.retire()
    assert place.hosts[0].is_resting
    await asyncio.sleep(0.02)  # Nobody else is heard of, and all the same:
    assert place.hosts[0].is_resting
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert not place.hosts[0].is_working
    assert len(place.hosts) == 1
