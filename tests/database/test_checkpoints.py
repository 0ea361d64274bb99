"""What a council keeps on disk: behind the fence, inert when read, and gone with the run's end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import ormsgpack
import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, empty_checkpoint
from langgraph.checkpoint.postgres.base import BasePostgresSaver
from structlog.testing import capture_logs

from engine.adapters.checkpoint_saver import CheckpointSaver
from engine.adapters.checkpoints import MOST_CONNECTIONS, Checkpoints
from engine.bootstrap import make_bus
from engine.core.database import Database
from engine.core.feed import Feed
from engine.core.settings import Settings
from engine.domains import chats, runs
from engine.domains.runs import ModelRequest, Run
from engine.worker import Worker
from tests.unit.scripted_model import SHIPPED, Reply, ScriptedModel, say, until
from tests.world import Person, World

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
VERSIONS: ChannelVersions = {"channel": "1"}


@dataclass(frozen=True)
class Asked:
    """A question to the council."""

    by: Person
    run: Run

    @property
    def thread(self) -> RunnableConfig:
        return {"configurable": {"thread_id": f"{self.run.id}/v1", "checkpoint_ns": ""}}


@pytest.fixture
async def database(application_url: str) -> AsyncIterator[Database]:
    """The test's database, with the rooms introduced to one another."""
    opened = await Database.open(application_url, bus=make_bus(), feed=Feed(), pool_size=10)
    yield opened
    await opened.close()


@pytest.fixture
def checkpoints(application_url: str) -> Checkpoints:
    return Checkpoints(application_url)


async def ask(database: Database, name: str = "Ромашка") -> Asked:
    """Let the admin of a new organization call the council."""
    ann = (await World(database).organization(name)).admin
    async with database.as_organization(ann.org_id) as tx:
        chat = await chats.create_chat(
            tx, ann.actor, title="Кадры", kind="group", members=[], roles=[], known_roles=SHIPPED
        )
        posted = await chats.post_message(
            tx, ann.actor, chat_id=chat.id, content="@@chu Что скажете?", known_roles=SHIPPED
        )
        (run,) = await runs.runs_of_message(tx, posted.message.id)
    return Asked(ann, run)


async def keep(saver: CheckpointSaver, asked: Asked, value: object = "secret") -> None:
    """Keep one step, in every table."""
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"channel": [value]}
    checkpoint["channel_versions"] = VERSIONS
    config = await saver.aput(asked.thread, checkpoint, {"step": 1}, VERSIONS)
    await saver.aput_writes(config, [("channel", ["more"])], "task")


async def rows(owner_url: str) -> dict[str, int]:
    """Count what is kept, past every fence."""
    connection = await asyncpg.connect(owner_url)
    counted = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    await connection.close()
    return counted


async def test_the_tables_are_those_that_the_installed_saver_wants(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT v FROM checkpoint_migrations ORDER BY v")
        versions = [row[0] for row in await cursor.fetchall()]

    assert versions == list(range(len(BasePostgresSaver.MIGRATIONS)))


async def test_what_was_kept_comes_back_as_it_was(database: Database, checkpoints: Checkpoints) -> None:
    asked = await ask(database)
    async with checkpoints.open(asked.by.org_id) as saver:
        assert saver
        await keep(saver, asked, {"слово": 3, "failure": None})

    async with checkpoints.open(asked.by.org_id) as saver:
        assert saver
        kept = await saver.aget_tuple(asked.thread)

    assert kept
    assert kept.checkpoint["channel_values"] == {"channel": [{"слово": 3, "failure": None}]}
    assert kept.pending_writes == [("task", "channel", ["more"])]


async def test_another_organization_sees_and_touches_nothing(
    database: Database, checkpoints: Checkpoints, application_url: str, database_url: str
) -> None:
    ours, theirs = await ask(database, "Ромашка"), await ask(database, "Лютик")
    async with checkpoints.open(ours.by.org_id) as saver:
        assert saver
        await keep(saver, ours)
    kept = await rows(database_url)

    async with checkpoints.open(theirs.by.org_id) as stranger:
        assert stranger
        assert await stranger.aget_tuple(ours.thread) is None
        await stranger.adelete_thread(ours.thread["configurable"]["thread_id"])
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await keep(stranger, ours)
    nobody = await asyncpg.connect(application_url)
    seen = [await nobody.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]
    await nobody.close()

    assert seen == [0, 0, 0]
    assert kept == dict.fromkeys(TABLES, 1)
    assert await rows(database_url) == kept


async def test_a_step_of_no_run_is_not_kept(database: Database, checkpoints: Checkpoints) -> None:
    asked = await ask(database)
    stray = replace(asked, run=replace(asked.run, id=uuid4()))

    async with checkpoints.open(asked.by.org_id) as saver:
        assert saver
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await keep(saver, stray)


def called(module: str, name: str, argument: str) -> bytes:
    """Make a blob that calls a function when it is read without care."""
    return ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb((module, name, argument))))


@pytest.mark.parametrize("kind", ["msgpack", "json", "pickle"])
async def test_a_crafted_blob_runs_nothing(
    database: Database, checkpoints: Checkpoints, database_url: str, tmp_path: Path, kind: str
) -> None:
    asked, mark = await ask(database), tmp_path / "was-here"
    command = f"touch {mark}"
    constructor = f'{{"lc": 2, "type": "constructor", "id": ["os", "system"], "args": ["{command}"]}}'
    blob = {
        "msgpack": called("os", "system", command),
        "json": constructor.encode(),
        "pickle": f"cos\nsystem\n(S'{command}'\ntR.".encode(),
    }[kind]
    async with checkpoints.open(asked.by.org_id) as saver:
        assert saver
        await keep(saver, asked)
        owner = await asyncpg.connect(database_url)
        await owner.execute("UPDATE checkpoint_blobs SET type = $1, blob = $2", kind, blob)
        await owner.execute("UPDATE checkpoint_writes SET type = $1, blob = $2", kind, blob)
        await owner.close()

        with suppress(Exception):
            await saver.aget_tuple(asked.thread)

    assert not mark.exists()


def test_the_crafted_blob_is_a_real_one(tmp_path: Path) -> None:
    """Read without care, it does what it says."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    careless = JsonPlusSerializer(allowed_msgpack_modules=True)
    careless.loads_typed(("msgpack", called("os", "system", f"touch {tmp_path / 'was-here'}")))

    assert (tmp_path / "was-here").exists()


async def test_a_database_that_goes_away_ends_the_keeping_and_not_the_run(
    database: Database, checkpoints: Checkpoints, database_url: str
) -> None:
    asked = await ask(database)
    async with checkpoints.open(asked.by.org_id) as saver:
        assert saver
        await keep(saver, asked)
        before = await rows(database_url)
        owner = await asyncpg.connect(database_url)
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            "rugpt checkpoints",
        )
        await owner.close()

        with capture_logs() as heard:
            await keep(saver, asked)
            await keep(saver, asked)
            assert await saver.aget_tuple(asked.thread) is None

    assert await rows(database_url) == before
    assert [line["event"] for line in heard].count("checkpoints_not_kept") == 1


async def test_a_database_that_cannot_be_reached_gives_no_saver(tmp_path: Path) -> None:
    async with Checkpoints(f"postgresql://rugpt_app@/rugpt?host={tmp_path}").open(uuid4()) as saver:
        assert saver is None


async def test_councils_leave_connections_for_others(checkpoints: Checkpoints) -> None:
    org_id = uuid4()
    async with AsyncExitStack() as held:
        savers = [await held.enter_async_context(checkpoints.open(org_id)) for _ in range(MOST_CONNECTIONS)]
        one_more = await held.enter_async_context(checkpoints.open(org_id))

    assert None not in savers
    assert one_more is None
    async with checkpoints.open(org_id) as later:
        assert later is not None


async def test_old_steps_of_ended_runs_are_forgotten_and_no_others(
    database: Database, checkpoints: Checkpoints, database_url: str
) -> None:
    ended, waiting, fresh = [await ask(database, name) for name in ("Один", "Два", "Три")]
    for asked in (ended, waiting, fresh):
        async with checkpoints.open(asked.by.org_id) as saver:
            assert saver
            if asked is not waiting:
                async with database.as_organization(asked.by.org_id) as tx:
                    await runs.cancel(tx, asked.by.actor, run_id=asked.run.id)
            await keep(saver, asked)
    owner = await asyncpg.connect(database_url)
    for table in TABLES:
        await owner.execute(
            f"UPDATE {table} SET at = now() - interval '49 hours' WHERE run_id <> $1", fresh.run.id
        )

    async with database.across_organizations(reason="test") as tx:
        forgotten = await runs.forget_old_checkpoints(tx, keep_hours=48)

    left = {table: await owner.fetch(f"SELECT run_id FROM {table}") for table in TABLES}
    await owner.close()
    assert forgotten == 1
    for kept in left.values():
        assert {row["run_id"] for row in kept} == {waiting.run.id, fresh.run.id}


async def test_a_cancelled_run_that_waited_keeps_nothing(
    database: Database, checkpoints: Checkpoints, database_url: str
) -> None:
    asked = await ask(database)
    async with checkpoints.open(asked.by.org_id) as saver:
        assert saver
        await keep(saver, asked)

    async with database.as_organization(asked.by.org_id) as tx:
        await runs.cancel(tx, asked.by.actor, run_id=asked.run.id)

    assert await rows(database_url) == dict.fromkeys(TABLES, 0)


def speaker(request: ModelRequest) -> str:
    system = request.messages[0].content
    names = {"Ты расп": "supervisor", "Ты — юрист": "lawyer", "Ты — бухгалтер": "accountant",
             "Ты — кадровик": "hr", "Ты — нач": "chu"}  # fmt: skip
    return next(code for start, code in names.items() if system.startswith(start))


async def work_until(
    database: Database, checkpoints: Checkpoints, reply: Callable[[str], Reply], holds: Callable[[], bool]
) -> list[str]:
    """Let a worker work until something holds and then stop it; return who was asked."""
    model = ScriptedModel(lambda request: reply(speaker(request)))
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    worker = Worker(settings, database, SHIPPED, lambda: model, checkpoints=checkpoints.open)
    working = asyncio.create_task(worker.run_until_stopped())
    try:
        await until(holds)
    finally:
        await worker.stop()
        await asyncio.gather(working, return_exceptions=True)
    return sorted(speaker(request) for request in model.requests)


async def test_the_next_worker_asks_only_for_the_draft_and_nothing_stays_on_disk(
    database: Database, checkpoints: Checkpoints, database_url: str
) -> None:
    asked, drafting, ended = await ask(database), asyncio.Event(), asyncio.Event()

    def stuck(code: str) -> Reply:
        if code == "chu":
            drafting.set()
            return say("Это ", forever=True, pause=0.05)
        return say(f"Мнение: {code}.")

    first = await work_until(database, checkpoints, stuck, drafting.is_set)
    between = await rows(database_url)
    database.feed.on(runs.RunHeard, lambda heard: ended.set() if _is_end(heard) else None)
    second = await work_until(database, checkpoints, lambda _: say("Решение."), ended.is_set)

    async with database.as_organization(asked.by.org_id) as tx:
        run = await runs.get_run(tx, asked.by.actor, run_id=asked.run.id)
        history = await chats.history(tx, asked.by.actor, chat_id=run.chat_id, before_no=None, limit=9)
    assert first == ["accountant", "chu", "hr", "lawyer", "supervisor"]
    assert all(between.values())
    assert second == ["chu"]
    assert run.status == "completed"
    assert [message.content for message in history if message.role_code] == ["Решение."]
    assert await rows(database_url) == dict.fromkeys(TABLES, 0)


def _is_end(heard: object) -> bool:
    return isinstance(heard, runs.RunHeard) and heard.events[-1].kind == "run.completed"
