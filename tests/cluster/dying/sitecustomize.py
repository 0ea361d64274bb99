"""Lets worker actors die in a phase of a run, as `kill -9` would; put on PYTHONPATH by the tests.

Python imports this in every process that inherits the variable. Nothing in the engine knows of it: when an
actor's module is loaded, the functions that phases name are wrapped from outside. Whoever comes to a phase
dies there if a file of its name lies in the folder that TESTS_DIE_IN names, and takes the file along.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

WORDS = 5
HOSTED = "ray_cluster.worker_actor"


def is_due(phase: str) -> bool:
    """Whether it is the turn of whoever comes to a phase."""
    return (Path(os.environ["TESTS_DIE_IN"]) / phase).exists()


def die(phase: str) -> None:
    """End this process at once, if it is its turn; a file tells the test when it was."""
    file = Path(os.environ["TESTS_DIE_IN"]) / phase
    try:
        file.rename(file.with_suffix(".died"))
    except FileNotFoundError:
        return
    file.with_suffix(".died").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, phase: str, *, is_it: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Die before a function does its work."""
    wrapped = getattr(owner, name)

    def dying(*arguments: Any, **named: Any) -> Any:
        if is_it(*arguments, **named):
            die(phase)
        return wrapped(*arguments, **named)

    setattr(owner, name, dying)


def arm() -> None:
    """Wrap what the phases name."""
    from engine.core.feed import Feed
    from engine.domains import calendar, runs
    from engine.domains.runs import RunHeard
    from engine.worker import attempt, recorder, worker

    before(worker.Worker, "_begin", "claimed")
    claim = runs.claim

    async def claim_and_die(*given: Any, **named: Any) -> Any:
        claims = await claim(*given, **named)
        if claims:
            die("claiming")
        return claims

    runs.claim = claim_and_die
    before(attempt.Attempt, "announced", "begun")
    said = itertools.count()
    before(
        attempt.Attempt,
        "_add",
        "speaking",
        is_it=lambda _, kind, __: kind == "run.delta" and next(said) % WORDS == WORDS - 1,
    )
    before(calendar, "create_event", "tool_running")
    before(attempt.Attempt, "record_tool", "between_steps")
    before(runs, "finish", "before_the_finish")
    before(
        Feed, "send", "after_the_finish", is_it=lambda _, item: isinstance(item, RunHeard) and has_ended(item)
    )
    before(Feed, "send", "finish_half_told", is_it=lambda _, item: tells_of_the_end(item))
    write = recorder._write_entries

    async def write_and_die(tx: Any, entries: list[recorder.Entry]) -> None:
        await write(tx, entries)
        if any(event.kind == "run.delta" for entry in entries for event in entry.events):
            die("writing_words")
        if any(entry.outcome is not None for entry in entries) and is_due("finish_uncommitted"):
            die("finish_uncommitted")

    recorder._write_entries = write_and_die


def has_ended(heard: Any) -> bool:
    """Whether it is the end of a run that is heard."""
    return bool(heard.events[-1].kind == "run.completed")


def tells_of_the_end(item: Any) -> bool:
    """Whether the log's line of a run's end is heard, which comes after that of its answer."""
    announcement = getattr(item, "announcement", None)
    return announcement is not None and bool(announcement.kind == "run.completed")


class Arming(importlib.abc.MetaPathFinder):
    """Arms a process as soon as it has loaded the module of worker actors."""

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != HOSTED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_arm(module: ModuleType) -> None:
            load(module)
            arm()

        spec.loader.exec_module = load_and_arm  # type: ignore[method-assign]
        return spec


if "TESTS_DIE_IN" in os.environ:
    sys.meta_path.insert(0, Arming())
