"""kill -9 of a worker actor in every phase of a run: whoever comes after ends it once, within 15 seconds."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.cluster.conftest import start_with_ray
from tests.process.conftest import Follow, StartEngine
from tests.process.engine import Follower, Person, eventually, register
from tests.process.model import PlannedModel, Script, has_tool_result, slowly

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200)]
TAKEOVER_SECONDS = 15.0
QUESTION = "@@hr Напомни мне завтра в 10 о сроке."
DYING = Path(__file__).parent / "dying"
# After these nobody begins the run anew: it had ended.
ENDED = ("after_the_finish",)
PHASES = (
    "claimed",
    "begun",
    "model_called",
    "speaking",
    "tool_running",
    "between_steps",
    "before_the_finish",
    "finish_uncommitted",
    *ENDED,
)


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection, to look at what is on disk."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_worker_that_dies_in_any_phase_of_a_run_leaves_exactly_one_end(
    start_engine: StartEngine,
    follow: Follow,
    model: PlannedModel,
    owner: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    ray = await start_with_ray(
        start_engine, RUGPT_WORKERS="2", PYTHONPATH=str(DYING), TESTS_DIE_IN=str(tmp_path)
    )
    ann = await register(ray.engine.port)
    wish = Script(pieces=(), tool_calls=(("create_event", '{"title": "Срок", "when": "завтра в 10"}'),))
    answer = slowly(words=20, gap_seconds=0.03)
    model.plan = lambda body: answer if has_tool_result(body) else wish

    for phase in PHASES:
        seconds = await die_and_go_on(phase, ann, follow, model, owner, tmp_path)
        assert seconds <= TAKEOVER_SECONDS, phase
    assert ray.engine.faults == []


async def die_and_go_on(
    phase: str, ann: Person, follow: Follow, model: PlannedModel, owner: asyncpg.Connection, folder: Path
) -> float:
    """Let a worker die in a phase; return how long it took until somebody went on, or had ended."""
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)
    died = folder / f"{phase}.died"
    if phase == "model_called":
        asked = len(model.requests)
        run_id = (await ann.post(chat_id, QUESTION))["runs"][0]["id"]
        await eventually(lambda: len(model.requests) > asked, what="the call of the model")
        await kill_worker_of(owner, run_id)
        died.touch()
    else:
        (folder / phase).touch()
        run_id = (await ann.post(chat_id, QUESTION))["runs"][0]["id"]
    restarts = 0 if phase in ENDED else 1
    await follower.until(
        lambda seen: seen.has_ended() or any(run.restarts for run in seen.runs.values()), seconds=60
    )
    seconds = time.time() - died.stat().st_mtime
    await follower.until(lambda seen: seen.has_ended(), seconds=60)

    assert follower.picture.runs[run_id].restarts == restarts, phase
    await check_one_end(owner, follower, run_id, fence=1 + restarts)
    follower.cut()
    return seconds


async def kill_worker_of(owner: asyncpg.Connection, run_id: str) -> None:
    """Kill the worker that has a run; its name holds the process."""
    import psutil

    worker = await owner.fetchval("SELECT worker FROM runs WHERE id = $1::text::uuid", run_id)
    psutil.Process(int(worker.split(":")[1])).kill()


async def check_one_end(owner: asyncpg.Connection, follower: Follower, run_id: str, *, fence: int) -> None:
    """Fail unless a run ended once, with one answer, and its tool had its effect once."""
    run = await owner.fetchrow("SELECT * FROM runs WHERE id = $1::text::uuid", run_id)
    assert run is not None
    assert (run["status"], run["worker"], run["fence"]) == ("completed", None, fence)
    answers = await owner.fetchval(
        "SELECT count(*) FROM messages WHERE chat_id = $1 AND role_code IS NOT NULL", run["chat_id"]
    )
    ends = await owner.fetchval(
        "SELECT count(*) FROM events WHERE kind = 'run.completed' AND data->>'run_id' = $1", run_id
    )
    drafts = await owner.fetchval("SELECT count(*) FROM drafts WHERE message_id = $1", run["answer_id"])
    tools = await owner.fetch(
        "SELECT fence, step, call_id FROM tool_calls WHERE run_id = $1::text::uuid AND fence = $2",
        run_id,
        fence,
    )
    planned = await owner.fetchval("SELECT count(*) FROM calendar_events WHERE chat_id = $1", run["chat_id"])
    calls = {
        row["fence"]
        for row in await owner.fetch("SELECT fence FROM model_calls WHERE run_id = $1::text::uuid", run_id)
    }
    assert (answers, ends, drafts, planned, len(tools), calls) == (1, 1, 1, 1, 1, {fence})
    await follower.check_against_fresh_load()
