"""Two engine processes on one database: what one does, the other's people see, and can stop."""

import asyncio
import time
from collections.abc import Callable

from tests.process.conftest import Follow, StartEngine
from tests.process.engine import ChatPicture, eventually, register
from tests.process.model import PlannedModel, Script, slowly


async def test_a_run_of_one_process_is_followed_in_another(
    start_engine: StartEngine, follow: Follow, model: PlannedModel
) -> None:
    model.script = slowly(words=60, gap_seconds=0.05)
    worker, other = await start_engine(), await start_engine()
    ann = await register(worker.port)
    chat_id = await ann.open_chat()
    here, there = await follow(ann, chat_id), await follow(ann.at(other), chat_id)

    posted_at = time.monotonic()
    posted = await ann.post(chat_id, "@@lawyer Что со сроком?")
    await there.until(lambda seen: "run.started" in seen.kinds)
    started_after = time.monotonic() - posted_at
    run_id = posted["runs"][0]["id"]
    await asyncio.sleep(1.0)
    late = await follow(ann.at(other), chat_id)
    await late.until(has_begun_to_talk(run_id))  # It opens with what was said before it came.
    await here.until(lambda seen: seen.has_ended())
    ended_at = time.monotonic()
    await there.until(lambda seen: seen.has_ended())
    told_after = time.monotonic() - ended_at
    await late.until(lambda seen: seen.has_ended())

    assert started_after < 2.5
    assert told_after < 2.0
    assert len(there.picture.answers) == 1
    for follower in (here, there, late):
        assert follower.connections == 1
        assert follower.picture.texts_checked == 1
        assert follower.picture.kinds.count("run.delta") >= 5
    await here.check_against_fresh_load()
    await there.check_against_fresh_load()
    assert (worker.faults, other.faults) == ([], [])


async def test_cancelling_closes_the_models_connection_within_a_second(
    start_engine: StartEngine, follow: Follow, model: PlannedModel
) -> None:
    worker, other = await start_engine(), await start_engine()
    ann = await register(worker.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)

    seconds = []
    for number, who in enumerate((ann, ann.at(other))):
        model.script = Script(ending="endless", gap_seconds=0.1)
        model.dropped_by_client.clear()
        run_id = (await ann.post(chat_id, "@@lawyer Расскажи всё."))["runs"][0]["id"]
        await follower.until(has_begun_to_talk(run_id))
        began = time.monotonic()
        await who.call("POST", f"/runs/{run_id}/cancel")
        await eventually(model.dropped_by_client.is_set, what="the end of the model's connection")
        seconds.append(time.monotonic() - began)
        await follower.until(lambda seen: seen.has_ended())
        assert (await ann.run(run_id))["status"] == "cancelled"
        await ann.call("POST", f"/runs/{run_id}/cancel", expect=409)
        assert len(model.requests) == number + 1

    assert max(seconds) <= 1.0
    assert follower.picture.answers == []
    assert (worker.faults, other.faults) == ([], [])


async def test_deactivating_somebody_closes_their_streams_in_every_process_within_5_seconds(
    start_engine: StartEngine, follow: Follow
) -> None:
    first, second = await start_engine(), await start_engine()
    ann = await register(first.port)
    boris = await ann.hire("boris")
    chat_id = await ann.open_chat(boris)
    annas = await follow(ann.at(second), chat_id)
    his = [await follow(boris, chat_id), await follow(boris.at(second), chat_id)]

    began = time.monotonic()
    await ann.call("PATCH", f"/users/{boris.id}", {"is_active": False})
    for follower in his:
        assert follower.stream is not None
        async with asyncio.timeout(5 - (time.monotonic() - began)):
            rest = [event.kind async for event in follower.stream.events()]
        assert "message.created" not in rest

    await boris.call("GET", f"/chats/{chat_id}", expect=401)
    await ann.post(chat_id, "Бориса больше нет.")
    await annas.until(lambda seen: len(seen.messages) == 1)
    assert annas.connections == 1


def has_begun_to_talk(run_id: str) -> Callable[[ChatPicture], bool]:
    return lambda seen: run_id in seen.runs and bool(seen.runs[run_id].text)


async def test_role_files_that_are_read_again_in_one_process_are_read_in_the_other(
    start_engine: StartEngine, model: PlannedModel
) -> None:
    here, there = await start_engine(), await start_engine()
    ann = await register(here.port)
    await ann.call("POST", "/roles/cache/clear")

    await eventually(lambda: "roles_read_again" in there.log, what="the news of the role files")
    assert here.log.count("roles_read_again") == 1
