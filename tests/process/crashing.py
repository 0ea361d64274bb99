"""Runs the engine's command and kills its process at a named point, as `kill -9` would.

    python -m tests.process.crashing POINT serve --port 0 ...

`impatient` is not a point to die at: with it, the seconds of streams pass quickly.

Nothing in the engine knows of this: the functions that a point names are wrapped from outside.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from engine import cli
from engine.api import streams
from engine.core.events import Announced
from engine.core.feed import Feed
from engine.domains import runs
from engine.domains.runs import RunHeard, RunsQueued, RunsTaken
from engine.worker import attempt, recorder, worker

WORDS_BEFORE_DEATH = 6
IMPATIENT_HEARTBEAT_SECONDS = 0.4
IMPATIENT_SEND_SECONDS = 1


def die() -> None:
    """End this process at once; no handler runs, no buffer is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


def _die_when_fed(is_it: Callable[[object], bool]) -> None:
    send = Feed.send

    def send_or_die(self: Feed, item: object) -> None:
        if is_it(item):
            die()
        send(self, item)

    Feed.send = send_or_die  # type: ignore[method-assign]


def _heard_end(item: object) -> bool:
    return isinstance(item, RunHeard) and item.events[-1].kind == "run.completed"


def _is_created_answer(item: object) -> bool:
    return isinstance(item, Announced) and item.announcement.kind == "run.completed"


def post_committed() -> None:
    """Right after the message and its run are true, before anybody in this process hears of it."""
    _die_when_fed(lambda item: isinstance(item, (RunsQueued, RunsTaken)))


def queued() -> None:
    """The same with a run that no worker took as it was queued."""
    _through_the_queue()
    post_committed()


def claiming() -> None:
    """The run is claimed, but the claim is not committed."""
    _through_the_queue()
    claim = runs.claim

    async def claim_and_die(*arguments: Any, **named: Any) -> Any:
        if claimed := await claim(*arguments, **named):
            die()
        return claimed

    runs.claim = claim_and_die


def claimed() -> None:
    """The claim is committed, and nothing else."""
    _through_the_queue()
    _die_before(worker.Worker, "_begin")


def begun() -> None:
    """The chat knows that the role is at work; its words are about to be let out."""

    def announced(_: Any) -> None:
        die()

    attempt.Attempt.announced = announced  # type: ignore[method-assign, assignment]


def speaking() -> None:
    """In the middle of the words, some of them heard, some in rows."""
    add = attempt.Attempt._add
    said = 0

    def add_or_die(self: attempt.Attempt, kind: str, data: dict[str, Any]) -> None:
        nonlocal said
        if kind == "run.delta":
            if said >= WORDS_BEFORE_DEATH:
                die()
            said += len(data["text"].split())  # A busy engine tells many at once.
        add(self, kind, data)

    attempt.Attempt._add = add_or_die  # type: ignore[method-assign]


def writing_words() -> None:
    """While the first words are written to their rows, before that is committed."""
    write = recorder._write_entries

    async def write_or_die(tx: Any, entries: list[recorder.Entry]) -> None:
        await write(tx, entries)
        if any(event.kind == "run.delta" for entry in entries for event in entry.events):
            die()

    recorder._write_entries = write_or_die


def between_tool_and_model() -> None:
    """A tool has done its work and the model has not heard of it."""

    def record_tool(_: Any, __: Any) -> None:
        die()

    attempt.Attempt.record_tool = record_tool  # type: ignore[method-assign, assignment]


def finishing() -> None:
    """The answer is whole and nothing of the finish is written."""
    _die_before(runs, "finish")


def finish_uncommitted() -> None:
    """Every statement of the finish is done but the commit."""
    write = recorder._write_entries

    async def write_and_die(tx: Any, entries: list[recorder.Entry]) -> None:
        await write(tx, entries)
        if any(entry.outcome is not None for entry in entries):
            die()

    recorder._write_entries = write_and_die


def finish_committed() -> None:
    """The finish is true, and nobody in this process has heard of it."""
    _die_when_fed(_heard_end)


def finish_half_told() -> None:
    """Followers have heard of the answer but not yet of the run's end."""
    _die_when_fed(_is_created_answer)


def _through_the_queue() -> None:
    """Have no run taken in the transaction that queues it."""

    async def no_offer(*_: Any) -> None: ...

    worker.Worker._offer = no_offer  # type: ignore[method-assign, assignment]


def _die_before(owner: Any, name: str) -> None:
    async def dead(*_: Any, **__: Any) -> None:
        die()

    wrapped: Callable[..., Awaitable[None]] = dead
    assert hasattr(owner, name)
    setattr(owner, name, wrapped)


POINTS: dict[str, Callable[[], None]] = {
    point.__name__: point
    for point in (
        post_committed,
        queued,
        claiming,
        claimed,
        begun,
        speaking,
        writing_words,
        between_tool_and_model,
        finishing,
        finish_uncommitted,
        finish_committed,
        finish_half_told,
    )
}


def impatient() -> None:
    """Heartbeats come often, and readers that stand still are dropped soon."""
    streams.HEARTBEAT_SECONDS = IMPATIENT_HEARTBEAT_SECONDS  # type: ignore[assignment]
    streams.SEND_SECONDS = IMPATIENT_SEND_SECONDS


def main() -> None:
    """Arm the point that the first argument names, and run the rest as `rugpt` would."""
    point = sys.argv.pop(1)
    {**POINTS, "impatient": impatient}[point]()
    cli.main()


if __name__ == "__main__":
    main()
