"""Engines whose runs are worked by Ray actors, over the test's own database."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import psutil
import pytest

from tests.process.conftest import StartEngine, follow, model, settings, start_engine
from tests.process.engine import EngineProcess

__all__ = ["follow", "model", "settings", "start_engine"]

WORKER = "ray::WorkerActor"
MARK = "TESTS_MARK"


@dataclass
class RayEngine:
    """An engine with its Ray."""

    engine: EngineProcess

    def processes(self, name: str) -> list[psutil.Process]:
        """Return those of its processes whose command line has this name in it."""
        family = psutil.Process(self.engine.child.process.pid).children(recursive=True)
        return [one for one in family if is_named(one, name)]

    def worker(self) -> psutil.Process:
        """Return the one process that works runs."""
        (found,) = self.processes(WORKER)
        return found


def is_marked(process: psutil.Process, mark: str) -> bool:
    """Whether a process other than this one was started by the test with this mark."""
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
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def _no_ray_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process of its own Ray behind."""
    mark = uuid4().hex
    monkeypatch.setenv(MARK, mark)  # Whatever the test starts inherits it; others have Rays of their own.
    yield
    left = [one for one in psutil.process_iter() if is_marked(one, mark)]
    _, alive = psutil.wait_procs(left, timeout=15)
    names = [" ".join(one.cmdline())[:80] for one in alive if one.is_running()]
    for one in alive:
        one.kill()
    assert not names


async def start_with_ray(start_engine: StartEngine, **changes: str) -> RayEngine:
    """Start an engine with Ray and return once an actor works."""
    return RayEngine(await start_engine(RUGPT_RUNTIME="ray", **changes))
