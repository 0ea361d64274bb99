"""kill -9 at every step of a run: whoever comes after ends it once, and followers see all of it."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.process.conftest import Follow, StartEngine
from tests.process.crashing import POINTS
from tests.process.engine import EngineProcess, Follower, eventually, register
from tests.process.model import PlannedModel, Script, has_tool_result, slowly

# Where the run had not been claimed for good, or had ended already, nobody begins it anew.
NOT_BEGUN_ANEW = ("queued", "claiming", "finish_committed", "finish_half_told")
QUESTION = "@@lawyer Что со сроком поставки?"
# API and worker die as one here; tests/cluster/test_ray_faults.py has actors die in the same places.
ONE_PROCESS = {"RUGPT_RUNTIME": "inline"}


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection, to look at what is on disk."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def check_one_end(owner: asyncpg.Connection, follower: Follower) -> dict[str, Any]:
    """Fail unless the only run ended once with one answer, as it is on disk and as it was followed."""
    (run,) = await owner.fetch("SELECT * FROM runs")
    assert (run["status"], run["worker"], run["error_code"]) == ("completed", None, None)
    (answer,) = await owner.fetch("SELECT * FROM messages WHERE role_code IS NOT NULL")
    assert answer["id"] == run["answer_id"]
    assert await owner.fetchval("SELECT count(*) FROM events WHERE kind = 'run.completed'") == 1
    assert await owner.fetchval("SELECT count(*) FROM drafts") == 1
    calls = await owner.fetch("SELECT * FROM model_calls")
    assert calls
    assert {call["fence"] for call in calls} == {run["fence"]}
    kinds = follower.picture.kinds
    assert kinds.count("run.queued") == 1
    assert kinds.count("run.completed") == 1
    assert [kind for kind in kinds if kind != "run.delta"][-2:] == ["message.created", "run.completed"]
    assert [message["id"] for message in follower.picture.answers] == [str(run["answer_id"])]
    await follower.check_against_fresh_load()
    return dict(run)


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_step_ends_in_exactly_one_answer(
    start_engine: StartEngine, follow: Follow, model: PlannedModel, owner: asyncpg.Connection, point: str
) -> None:
    answer = slowly(words=40 if point == "writing_words" else 20, gap_seconds=0.03)
    if point == "between_tool_and_model":
        wish = Script(pieces=(), tool_calls=(("current_time", "{}"),))
        model.plan = lambda body: answer if has_tool_result(body) else wish
    else:
        model.script = answer
    crashing = await start_engine(crash_at=point, **ONE_PROCESS)
    ann = await register(crashing.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)

    question = {"content": QUESTION, "client_message_id": "first"}
    try:
        await ann.call("POST", f"/chats/{chat_id}/messages", question, expect=201)
    except httpx2.TransportError:
        assert point in (
            "post_committed",
            "queued",
            "claiming",
            "claimed",
        )  # It may have died before it answered.
    assert await crashing.wait_for_end() == -signal.SIGKILL
    successor = await start_engine(**ONE_PROCESS)
    follower.person = ann = ann.at(successor)
    again = await ann.call("POST", f"/chats/{chat_id}/messages", question, expect=200)
    await follower.until(lambda seen: seen.has_ended())

    assert len(again["runs"]) == 1
    run = await check_one_end(owner, follower)
    restarts = 0 if point in NOT_BEGUN_ANEW else 1
    assert run["fence"] == 1 + restarts
    assert follower.picture.runs[str(run["id"])].restarts == restarts
    assert successor.faults == []


@pytest.mark.system  # It waits for the usual lease to run out; with a short one, the others do so every day.
async def test_a_crash_while_the_model_thinks_is_taken_over_within_15_seconds_by_default(
    start_engine: StartEngine, follow: Follow, model: PlannedModel, owner: asyncpg.Connection
) -> None:
    model.script = Script(first_token_seconds=60)
    lease = {"RUGPT_LEASE_SECONDS": "", **ONE_PROCESS}
    first, second = await start_engine(**lease), await start_engine(**lease)
    ann = await register(first.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)
    await ann.post(chat_id, QUESTION)
    await eventually(lambda: len(model.requests) == 1, what="the first model call")

    await asyncio.sleep(0.5)
    model.script = Script()
    await first.kill()
    killed_at = time.monotonic()
    follower.person = ann.at(second)
    await follower.until(lambda seen: any(run.restarts for run in seen.runs.values()))
    seconds = time.monotonic() - killed_at
    await follower.until(lambda seen: seen.has_ended())

    assert seconds <= 15
    await check_one_end(owner, follower)


async def test_a_worker_that_stood_still_past_its_lease_ends_nothing(
    start_engine: StartEngine, follow: Follow, model: PlannedModel, owner: asyncpg.Connection
) -> None:
    model.script = Script(pieces=("Ответ ", "зомби."), first_token_seconds=1.0)
    zombie, heir = await start_engine(**ONE_PROCESS), await start_engine(**ONE_PROCESS)
    ann = await register(zombie.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann.at(heir), chat_id)
    before = await follow(ann, chat_id)
    await ann.post(chat_id, QUESTION)
    await eventually(lambda: len(model.requests) == 1, what="the first model call")
    await before.until(lambda seen: "run.started" in seen.kinds)

    zombie.send(signal.SIGSTOP)
    model.script = Script(pieces=("Ответ ", "наследника."))
    await follower.until(lambda seen: seen.has_ended())
    zombie.send(signal.SIGCONT)
    # The zombie wakes with a whole answer in its socket, and tries to write it.
    await eventually(lambda: _knows_it_lost(zombie), what="the zombie's loss")
    await before.until(lambda seen: seen.has_ended())

    run = await check_one_end(owner, follower)
    assert run["fence"] == 2
    assert [message["content"] for message in follower.picture.answers] == ["Ответ наследника."]
    await before.check_against_fresh_load()
    assert before.picture.messages == follower.picture.messages


def _knows_it_lost(zombie: EngineProcess) -> bool:
    return '"run_lost"' in zombie.log or '"run_ended"' in zombie.log
