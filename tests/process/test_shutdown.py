"""SIGTERM: people are told to come back, work is handed back, and nothing is lost."""

import asyncpg

from tests.process.conftest import Follow, StartEngine
from tests.process.engine import Event, Stream, register
from tests.process.model import PlannedModel, slowly

LONG_LEASE = {"RUGPT_LEASE_SECONDS": "60"}  # So that only handing back explains a quick successor.


async def test_a_stopped_engine_says_goodbye_and_hands_its_runs_back(
    start_engine: StartEngine, follow: Follow, model: PlannedModel, database_url: str
) -> None:
    model.script = slowly(words=100, gap_seconds=0.1)
    leaving = await start_engine(**LONG_LEASE)
    ann = await register(leaving.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)
    run_id = (await ann.post(chat_id, "@@lawyer Что со сроком?"))["runs"][0]["id"]
    await follower.until(lambda seen: len(seen.runs[run_id].text) > 50 if run_id in seen.runs else False)
    run_stream = await Stream.open(ann.port, f"/runs/{run_id}/events", ann.token)
    everything = await Stream.open(ann.port, "/events", ann.token)

    stopping_took = await leaving.terminate()

    assert stopping_took <= 10
    assert leaving.child.process.returncode == 0
    assert leaving.faults == []
    assert "without completing response" not in leaving.log
    assert follower.stream is not None
    for stream in (follower.stream, run_stream, everything):
        assert (await rest_of(stream))[-1].kind == "reconnect"
        stream.close()
    connection = await asyncpg.connect(database_url)
    try:
        row = await connection.fetchrow("SELECT status, attempts, worker FROM runs")
    finally:
        await connection.close()
    assert row is not None
    assert tuple(row) == ("queued", 0, None)

    model.script = slowly(words=5)
    successor = await start_engine(**LONG_LEASE)
    follower.cut()
    follower.person = ann.at(successor)
    await follower.until(lambda seen: seen.has_ended())

    assert follower.picture.runs[run_id].restarts == 1
    await follower.check_against_fresh_load()


async def rest_of(stream: Stream) -> list[Event]:
    """Read a stream to its end."""
    return [event async for event in stream.events()]
