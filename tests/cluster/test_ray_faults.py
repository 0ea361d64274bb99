"""What can go wrong with a cluster, one thing after another on one engine: every run ends, and once.

The tests go on with what the last one left, as an engine in production would.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGQUIT, SIGSTOP

import asyncpg
import psutil
import pytest

from bench.processes import postgres_pid
from engine.core.embedded import EmbeddedPostgres
from tests.cluster.conftest import TAKEOVER_SECONDS, WORKER, RayEngine, ends_once, is_named
from tests.process.engine import SECRET, EngineProcess, Follower, Person, eventually, register
from tests.process.model import PlannedModel, Script, answering, has_tool_result, slowly

pytestmark = [
    pytest.mark.cluster, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(150),
]  # fmt: skip
QUESTION = "@@hr Напомни мне завтра в 10 о сроке."
DYING = Path(__file__).parent / "dying"
# Here the run had not been claimed for good, or had ended already: nobody begins it anew.
NOT_BEGUN_ANEW = ("claiming", "after_the_finish", "finish_half_told")
PHASES = (
    pytest.param("claiming", marks=pytest.mark.system),
    "claimed",
    pytest.param("begun", marks=pytest.mark.system),
    "model_called",
    "speaking",
    pytest.param("writing_words", marks=pytest.mark.system),
    pytest.param("tool_running", marks=pytest.mark.system),
    pytest.param("between_steps", marks=pytest.mark.system),
    "before_the_finish",
    "finish_uncommitted",
    "after_the_finish",
    pytest.param("finish_half_told", marks=pytest.mark.system),
)
PLAN = Script(pieces=(), tool_calls=(("create_event", '{"title": "Срок", "when": "завтра в 10"}'),))


@dataclass
class Firm(RayEngine):
    """An engine with its Ray, the database and the model behind it, and somebody who asks."""

    folder: Path
    settings: dict[str, str]
    database: EmbeddedPostgres
    model: PlannedModel
    ann: Person
    followers: list[Follower] = field(default_factory=list)

    async def ask(self, words: int, *, gap_seconds: float = 0.05) -> tuple[Follower, str]:
        """Have somebody ask in a new chat, and return once a role has begun to talk."""
        self.model.script, self.model.plan = slowly(words, gap_seconds), None
        follower = await self.listen()
        run_id = (await self.ann.post(follower.chat_id, "@@lawyer Что со сроком?"))["runs"][0]["id"]
        await follower.until(lambda seen: run_id in seen.runs and bool(seen.runs[run_id].text))
        return follower, run_id

    async def listen(self, chat_id: str | None = None) -> Follower:
        """Follow a chat, a new one unless it is named."""
        follower = Follower(self.ann, chat_id or await self.ann.open_chat())
        self.followers.append(follower)
        await follower.begin()
        return follower

    async def process_of(self, run_id: str) -> psutil.Process:
        """Return the process that has a run; the name of a worker holds it."""
        name = await self.fetch_value("SELECT worker FROM runs WHERE id = $1::text::uuid", run_id)
        return psutil.Process(int(str(name).split(":")[1]))

    async def fetch_value(self, statement: str, *given: object) -> object:
        """Look at what is on disk."""
        owner = await asyncpg.connect(self.settings["RUGPT_DATABASE_OWNER_URL"])
        try:
            return await owner.fetchval(statement, *given)
        finally:
            await owner.close()

    async def start(self) -> None:
        """Start the engine and wait for its actors."""
        self.engine = await EngineProcess.start(self.folder, self.settings)


@pytest.fixture(scope="module")
async def beginning() -> AsyncIterator[Firm]:
    """An engine that has just begun, with two actors; these die in the phase that a file names."""
    async with AsyncExitStack() as parts:
        folder = Path(
            parts.enter_context(
                tempfile.TemporaryDirectory(prefix="rugpt-cluster-", ignore_cleanup_errors=True)
            )
        )
        database = EmbeddedPostgres(folder / "postgres", options={"fsync": "off"})
        await asyncio.to_thread(database.start)
        parts.callback(database.stop)
        model = await parts.enter_async_context(answering(slowly()))
        settings = {
            **model.settings,
            "RUGPT_DATABASE_URL": database.url(user="rugpt_app"),
            "RUGPT_DATABASE_OWNER_URL": database.url(user="postgres"),
            "RUGPT_SECRET_KEY": SECRET,
            "RUGPT_RUNTIME": "ray",
            "RUGPT_WORKERS": "2",
            "RUGPT_LEASE_SECONDS": "3",  # A busy machine lets nobody wait so long.
            "PYTHONPATH": str(DYING),
            "TESTS_DIE_IN": str(folder),
        }
        engine = await EngineProcess.start(folder, settings, is_ready=False)
        parts.push_async_callback(engine.kill)
        await engine.wait_until_ready()
        made = Firm(engine, folder, settings, database, model, await register(engine.port))
        try:
            yield made
        finally:
            await made.engine.kill()


@pytest.fixture(scope="module")
async def firm(beginning: Firm) -> Firm:
    """The engine once its actors work."""
    await beginning.engine.wait_until_worked_by(2)
    return beginning


@pytest.fixture(autouse=True)
def _nobody_follows_after_a_test(beginning: Firm) -> Iterator[None]:
    said_before = len(beginning.engine.log)
    yield
    # Shown where a test fails: what the engine and its Ray have said meanwhile.
    said = beginning.engine.log[said_before:].splitlines()
    print(*[line for line in said if '"request"' not in line][-60:], sep="\n")
    for follower in beginning.followers:
        follower.cut()
    beginning.followers.clear()


async def test_what_is_asked_before_ray_is_up_is_answered_at_once_and_ends_where_it_began(
    beginning: Firm,
) -> None:
    follower, run_id = await beginning.ask(words=200)
    assert (await beginning.process_of(run_id)).pid == beginning.engine.child.process.pid

    await ends_once(follower, run_id, restarts=0)  # Ray has come meanwhile, or does so soon.
    await beginning.engine.wait_until_worked_by(2)


async def test_an_actor_answers_live(firm: Firm) -> None:
    follower, run_id = await firm.ask(words=40)
    await ends_once(follower, run_id, restarts=0)

    assert follower.picture.kinds.count("run.delta") >= 5
    assert follower.picture.texts_checked == 1


@pytest.mark.parametrize("phase", PHASES)
async def test_a_worker_that_dies_in_any_phase_of_a_run_leaves_exactly_one_end(
    firm: Firm, phase: str
) -> None:
    answer = slowly(words=20, gap_seconds=0.03)
    firm.model.plan = lambda body: answer if has_tool_result(body) else PLAN
    follower = await firm.listen()
    returning = await firm.listen(follower.chat_id)  # It loses its connection when the worker dies.
    coming_back = asyncio.create_task(returning.until(lambda seen: seen.has_ended(), seconds=60))
    died = firm.folder / f"{phase}.died"
    if phase == "model_called":
        asked = len(firm.model.requests)
        run_id = (await firm.ann.post(follower.chat_id, QUESTION))["runs"][0]["id"]
        await eventually(lambda: len(firm.model.requests) > asked, what="the call of the model")
        (await firm.process_of(run_id)).kill()
        died.touch()
    else:
        (firm.folder / phase).touch()
        run_id = (await firm.ann.post(follower.chat_id, QUESTION))["runs"][0]["id"]
    restarts = 0 if phase in NOT_BEGUN_ANEW else 1
    await eventually(died.exists, seconds=20, what="the death")
    returning.cut()
    await follower.until(
        lambda seen: seen.has_ended() or any(run.restarts for run in seen.runs.values()), seconds=60
    )
    seconds = time.time() - died.stat().st_mtime

    await ends_once(follower, run_id, restarts=restarts)
    await coming_back
    await ends_once(returning, run_id, restarts=restarts)
    assert (returning.connections, follower.connections) == (2, 1)
    assert returning.picture.messages == follower.picture.messages
    assert seconds <= TAKEOVER_SECONDS
    await check_what_is_kept(firm, run_id, fence=1 + restarts)


async def check_what_is_kept(firm: Firm, run_id: str, *, fence: int) -> None:
    """Fail unless a run ended once, with one answer, and its tool had its effect once."""
    kept = await firm.fetch_value(
        """
        SELECT ARRAY[status, worker, fence::text,
               (SELECT count(*) FROM messages WHERE chat_id = runs.chat_id AND role_code IS NOT NULL)::text,
               (SELECT count(*) FROM events
                 WHERE kind = 'run.completed' AND data->>'run_id' = runs.id::text)::text,
               (SELECT count(*) FROM drafts WHERE message_id = runs.answer_id)::text,
               (SELECT count(*) FROM calendar_events WHERE chat_id = runs.chat_id)::text,
               (SELECT count(*) FROM tool_calls WHERE run_id = runs.id AND fence = runs.fence)::text,
               (SELECT string_agg(DISTINCT fence::text, ' ') FROM model_calls WHERE run_id = runs.id)]
          FROM runs WHERE id = $1::text::uuid
        """,
        run_id,
    )
    assert kept == ["completed", None, str(fence), "1", "1", "1", "1", "1", str(fence)]


async def test_an_actor_that_stood_still_past_its_lease_ends_nothing(firm: Firm) -> None:
    await firm.engine.wait_until_worked_by(2)
    follower, run_id = await firm.ask(words=100)
    zombie = await firm.process_of(run_id)
    zombie.send_signal(SIGSTOP)
    await follower.until(lambda seen: seen.runs[run_id].restarts == 1, seconds=TAKEOVER_SECONDS)
    zombie.send_signal(SIGCONT)

    await ends_once(follower, run_id, restarts=1)
    assert is_named(zombie, WORKER)
    assert len(firm.processes(WORKER)) == 2


@pytest.mark.system
async def test_a_worker_that_stands_still_for_ever_is_replaced(firm: Firm) -> None:
    follower, run_id = await firm.ask(words=60)
    frozen = await firm.process_of(run_id)
    frozen.send_signal(SIGSTOP)
    began = time.monotonic()
    await follower.until(lambda seen: seen.runs[run_id].restarts == 1, seconds=40)

    assert time.monotonic() - began <= TAKEOVER_SECONDS
    await ends_once(follower, run_id, restarts=1)
    await eventually(lambda: not is_named(frozen, WORKER), seconds=20, what="its end")
    await firm.engine.wait_until_worked_by(2)


async def test_when_the_database_restarts_the_actors_go_on_and_every_word_arrives(firm: Firm) -> None:
    follower, run_id = await firm.ask(words=150)  # It still talks when the database is back.
    worker = await firm.process_of(run_id)
    pid = postgres_pid(firm.folder)
    assert pid is not None
    os.kill(pid, SIGQUIT)  # No goodbye, and recovery at the next start.
    await eventually(lambda: not psutil.pid_exists(pid), what="the end of the database")
    await asyncio.to_thread(firm.database.start_again)

    await ends_once(follower, run_id)
    (answer,) = follower.picture.answers
    assert answer["content"].strip() == "".join(firm.model.script.pieces).strip()
    assert is_named(worker, WORKER)


@pytest.mark.system
async def test_nobody_joins_the_cluster_without_its_token(firm: Firm) -> None:
    (gcs,) = [one for one in firm.processes("gcs_server") if one.name().startswith("gcs")]
    port = min(each.laddr.port for each in gcs.net_connections() if each.status == psutil.CONN_LISTEN)
    stranger = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import ray; ray.init('127.0.0.1:{port}', namespace='rugpt'); print(ray.util.list_named_actors())",
        env={
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "x" * 64,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # It would look for 127.0.0.1 at another address.
            "HOME": "/nowhere",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            said, complained = await stranger.communicate()
    finally:
        if stranger.returncode is None:
            stranger.kill()
            await stranger.wait()

    assert stranger.returncode != 0
    assert b"worker-" not in said
    assert b"nauth" in complained or b"oken" in complained, complained[-2000:]


@pytest.mark.parametrize(
    "lost",
    [
        "/raylet/raylet",
        pytest.param("gcs_server", marks=pytest.mark.system),
        pytest.param("ray_cluster.host", marks=pytest.mark.system),
    ],
)
async def test_when_raylet_head_or_host_is_lost_somebody_goes_on(firm: Firm, lost: str) -> None:
    await firm.engine.wait_until_worked_by(2)
    follower, run_id = await firm.ask(words=100)
    workers = firm.processes(WORKER)
    for one in firm.processes(lost):
        one.kill()
    began = time.monotonic()
    # An actor that outlives what was killed by some seconds may end its run itself.
    await follower.until(lambda seen: seen.has_ended() or seen.runs[run_id].restarts == 1, seconds=60)

    assert time.monotonic() - began <= TAKEOVER_SECONDS
    await ends_once(follower, run_id)
    await eventually(lambda: not any(is_named(one, WORKER) for one in workers), seconds=30, what="their end")
    await firm.engine.wait_until_worked_by(2)


async def test_when_the_engine_is_killed_its_ray_ends_and_the_next_engine_goes_on(firm: Firm) -> None:
    follower, run_id = await firm.ask(words=200)
    family = firm.family()
    await firm.engine.kill()
    await firm.start()
    follower.person = firm.ann = firm.ann.at(firm.engine)

    await ends_once(follower, run_id)
    await eventually(
        lambda: not any(one.is_running() for one in family), what="the end of the old Ray", seconds=20
    )


async def test_the_end_of_the_engine_ends_its_ray(firm: Firm) -> None:
    family = firm.family()

    assert await firm.engine.terminate() <= 12
    assert not [one for one in family if is_named(one, "ray")]
    assert firm.engine.faults == []
