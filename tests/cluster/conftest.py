"""Engines whose runs are worked by Ray actors; the tests of a file share one wherever they can."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import psutil
import pytest

from tests.process.conftest import follow, model, settings, start_engine
from tests.process.engine import EngineProcess, Follower

__all__ = ["follow", "model", "settings", "start_engine"]

WORKER = "ray::WorkerActor"
MARK = "TESTS_MARK"
TAKEOVER_SECONDS = 15.0


@dataclass
class RayEngine:
    """An engine with its Ray."""

    engine: EngineProcess

    def family(self) -> list[psutil.Process]:
        """Return the processes that it has started, and those that these have."""
        return list(psutil.Process(self.engine.child.process.pid).children(recursive=True))

    def processes(self, name: str) -> list[psutil.Process]:
        """Return those of its processes whose command line has this name in it."""
        return [one for one in self.family() if is_named(one, name)]

    def worker(self) -> psutil.Process:
        """Return the one process that works runs."""
        (found,) = self.processes(WORKER)
        return found


def is_marked(process: psutil.Process, mark: str) -> bool:
    """Whether a process other than this one was started by the tests with this mark."""
    try:
        return bool(process.pid != os.getpid() and process.environ().get(MARK) == mark)
    except psutil.Error:
        return False


def is_named(process: psutil.Process, name: str) -> bool:
    """Whether a process that still lives has a name in its command line."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and any(
            name in part for part in process.cmdline()[:3]
        )
    except psutil.Error:
        return False


@pytest.fixture(scope="module", autouse=True)
def _no_ray_is_left() -> Iterator[None]:
    """Fail a file of tests that leaves a process of its own Ray behind."""
    mark = uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)  # Whatever the tests start inherits it; others have Rays of their own.
        yield
    left = [one for one in psutil.process_iter() if is_marked(one, mark)]
    _, alive = psutil.wait_procs(left, timeout=15)
    names = []
    for one in alive:
        if is_marked(one, mark):
            names.append(" ".join(one.cmdline())[:200])
            one.kill()
    assert not names


async def ends_once(follower: Follower, run_id: str, *, restarts: int | None = None) -> None:
    """Fail unless the run ends with one answer, and the stream shows what a fresh load shows."""
    await follower.until(lambda seen: seen.has_ended(), seconds=60)
    run = follower.picture.runs[run_id]
    assert run.status == "completed"
    assert restarts in (None, run.restarts)
    assert len(follower.picture.answers) == 1
    await follower.check_against_fresh_load()
