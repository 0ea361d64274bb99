"""Engines that join a cluster: the code of a new release replaces the older one, and no run is begun anew."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from bench.processes import DidNotStart
from engine.core.settings import Settings
from ray_cluster.cluster import Head, environment, start_head, token_file
from tests.cluster.code import copy_of_the_code, running_from
from tests.cluster.conftest import WORKER, RayEngine, ends_once, is_named
from tests.process.conftest import Follow, StartEngine
from tests.process.engine import eventually, register
from tests.process.model import PlannedModel, slowly

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]
QUESTION = "@@lawyer Что со сроком?"
NEW_WORDS = "Отвечай как во втором выпуске."
SIGNING = """
import os
with open({file!r}, "a") as signatures:
    signatures.write(f"{{os.getpid()}}\\n")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The code that the machines of the cluster have."""
    return copy_of_the_code(tmp_path / "code")


@pytest.fixture
def cluster(tmp_path: Path, code: Path) -> Iterator[tuple[Head, Path]]:
    """A cluster that engines join, and its token."""
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    token = token_file(settings)
    head = start_head(tmp_path, {**environment(token), **running_from(code)})
    yield head, token
    head.stop()


def workers_of(head: Head) -> set[int]:
    """Return the processes of a cluster's workers."""
    family = psutil.Process(head.process.pid).children(recursive=True)
    return {one.pid for one in family if is_named(one, WORKER)}


@asynccontextmanager
async def joined(
    start_engine: StartEngine, cluster: tuple[Head, Path], code: Path
) -> AsyncIterator[RayEngine]:
    """Start an engine that joins a cluster, and kill it after the block."""
    head, token = cluster
    engine = await start_engine(
        RUGPT_RUNTIME="ray",
        RUGPT_RAY_ADDRESS=head.address,
        RUGPT_RAY_TOKEN_FILE=str(token),
        **running_from(code),
    )
    yield RayEngine(engine)
    await engine.kill()


def release_anew(code: Path) -> Path:
    """Change the code as a new release does, in its place; return a file in which its workers sign."""
    signatures = code.parent / "signatures"
    with (code / "engine" / "worker" / "worker.py").open("a", encoding="utf-8") as module:
        module.write(SIGNING.format(file=str(signatures)))
    with (code / "prompts" / "lawyer.md").open("a", encoding="utf-8") as prompt:
        prompt.write(f"\n{NEW_WORDS}\n")
    return signatures


@pytest.mark.system
async def test_a_new_release_replaces_the_old_one_and_no_run_is_begun_anew(
    start_engine: StartEngine,
    follow: Follow,
    model: PlannedModel,
    cluster: tuple[Head, Path],
    code: Path,
) -> None:
    model.script = slowly(words=150, gap_seconds=0.1)
    head, _ = cluster
    async with joined(start_engine, cluster, code) as old:
        await eventually(lambda: len(workers_of(head)) == 1, what="a worker", seconds=40)
        ann = await register(old.engine.port)
        follower = await follow(ann, await ann.open_chat())
        run_id = (await ann.post(follower.chat_id, QUESTION))["runs"][0]["id"]
        await follower.until(lambda seen: run_id in seen.runs and bool(seen.runs[run_id].text))
        (before,) = workers_of(head)
        signatures = release_anew(code)
        async with joined(start_engine, cluster, code) as new:
            await eventually(
                lambda: len(workers_of(head)) == 2, what="a worker of the new release", seconds=40
            )
            await old.engine.kill()  # What works its run belongs to nobody but the cluster.
            follower.person = follower.person.at(new.engine)
            await ends_once(follower, run_id, restarts=0)
            await eventually(lambda: before not in workers_of(head), what="the old worker's end", seconds=20)
            model.script = slowly(words=5)
            again = (await follower.person.post(follower.chat_id, QUESTION))["runs"][0]["id"]
            await follower.until(lambda seen: again in seen.runs and seen.has_ended(), seconds=30)
            (after,) = workers_of(head)
            signed = {int(line) for line in signatures.read_text().split()}
            assert (before in signed, after in signed) == (False, True)
            assert [NEW_WORDS in str(asked) for asked in (model.requests[0], model.requests[-1])] == [
                False,
                True,
            ]


async def test_an_engine_with_a_token_that_others_can_read_does_not_start(
    start_engine: StartEngine, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 64)
    token.chmod(0o644)

    with pytest.raises(DidNotStart, match="chmod 600"):
        await start_engine(RUGPT_RUNTIME="ray", RUGPT_RAY_TOKEN_FILE=str(token))
