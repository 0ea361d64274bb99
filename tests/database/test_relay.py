"""What one process hears reaches the others by PostgreSQL's NOTIFY, and what is lost hurts nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from engine.core.events import Announced, AnnouncedElsewhere, Announcement
from engine.core.feed import Feed
from engine.core.relay import CHANNEL, Relay
from engine.domains import runs
from engine.domains.runs import CancelRequested, ReplicaSeen, RunEvent, RunHeard, RunsQueued


class Process:
    """A feed of its own with its relay, and what it heard."""

    def __init__(self, url: str) -> None:
        self.feed = Feed()
        self.relay = Relay(url, self.feed)
        runs.let_travel(self.relay)
        self.heard: list[object] = []
        for kind in (Announced, AnnouncedElsewhere, RunHeard, RunsQueued, CancelRequested, ReplicaSeen):
            self.feed.on(kind, self.heard.append)

    async def hears(self, count: int, *, seconds: float = 10) -> list[object]:
        """Wait until this many items were heard, and for a moment longer: nothing comes twice."""
        for _ in range(int(seconds / 0.01)):
            if len(self.heard) >= count:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        return self.heard


@asynccontextmanager
async def related(url: str) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes whose relays have met."""
    pair = Process(url), Process(url)
    tasks = [asyncio.create_task(process.relay.run()) for process in pair]
    try:
        await meet(*pair)
        yield pair
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def meet(one: Process, other: Process) -> None:
    async with asyncio.timeout(20):
        while not (one.heard and other.heard):
            for process in (one, other):
                process.heard.clear()
            one.feed.send(RunsQueued())
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.1)
    one.heard.clear()
    other.heard.clear()


def words(text: str, no: int = 1) -> RunEvent:
    return RunEvent(no, "run.delta", {"text": text})


async def test_what_is_heard_here_is_heard_there_in_its_order_and_once(application_url: str) -> None:
    org, chat, run = uuid4(), uuid4(), uuid4()
    said = [RunHeard(org, chat, run, uuid4(), [words(f"слово {n}", n)]) for n in range(200)]
    started = Announced(org, 7, Announcement(chat, "run.started", {"run_id": str(run), "seq": 1}))
    stop = CancelRequested(run)

    async with related(application_url) as (here, there):
        for item in (started, *said, stop):
            here.feed.send(item)
        heard = await there.hears(202)

        assert heard == [started, *said, stop]
        assert here.heard == heard


async def test_replicas_of_a_model_are_heard_of_wherever_they_are(application_url: str) -> None:
    ready = ReplicaSeen("model-0:4f2a", "smollm2-135m", "http://192.0.2.7:9000/v1", 4, 2)
    loading = ReplicaSeen("model-1:77aa", "smollm2-135m", None, 4, 0, "fetching 30 %")

    async with related(application_url) as (here, there):
        here.feed.send(ready)
        here.feed.send(loading)

        assert await there.hears(2) == [ready, loading]


async def test_a_message_travels_as_its_number_because_its_text_is_in_the_rows(application_url: str) -> None:
    org, chat = uuid4(), uuid4()
    message = Announcement(chat, "message.created", {"message_id": str(uuid4())}, live="тайна")

    async with related(application_url) as (here, there):
        here.feed.send(Announced(org, 3, message))

        assert await there.hears(1) == [AnnouncedElsewhere(org, 3)]


async def test_what_is_too_large_for_a_notice_is_left_out_and_the_rest_arrives(application_url: str) -> None:
    events = [words("ы" * 2_000, n) for n in range(5)]
    events.insert(2, words("ы" * 20_000, 9))

    async with related(application_url) as (here, there):
        here.feed.send(RunHeard(uuid4(), uuid4(), uuid4(), uuid4(), events))
        heard = await there.hears(5)

    arrived = [event for item in heard if isinstance(item, RunHeard) for event in item.events]
    assert arrived == [event for event in events if event.id != 9]


async def test_a_relay_that_was_cut_off_comes_back_and_survives_nonsense(
    application_url: str, database_url: str
) -> None:
    async with related(application_url) as (here, there):
        server = await asyncpg.connect(database_url)
        try:
            await server.execute("SELECT pg_notify($1, $2)", CHANNEL, '["x", "heard", [1]]')
            await server.execute("SELECT pg_notify($1, $2)", CHANNEL, "не JSON")
            await server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'rugpt-relay' AND datname = current_database()"
            )
        finally:
            await server.close()
        await meet(here, there)
        here.feed.send(RunsQueued())

        assert await there.hears(1) == [RunsQueued()]
