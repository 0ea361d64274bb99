"""What cannot be written of one run ends that run, and hurts no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from engine.core.database import Database
from engine.domains import runs
from engine.domains.runs import Claim, Outcome, TokenUsage, ToolUse
from engine.graphs import ModelUse
from engine.worker.attempt import Attempt
from engine.worker.recorder import Recorder
from tests.world import Person, World

UNSTORABLE = 10**15


@asynccontextmanager
async def recording(database: Database) -> AsyncIterator[Recorder]:
    """A recorder at work."""
    recorder = Recorder(database)
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def a_tool_use(**changes: Any) -> ToolUse:
    use = ToolUse(1, 1, "call_1", "current_time", {}, "ok", "полдень", 0.1)
    return replace(use, **changes)


def poison_calls(attempt: Attempt) -> None:
    usage = TokenUsage(5, UNSTORABLE)
    attempt.record_use(ModelUse("lawyer", "v1", 1, usage, 2, 1))


def poison_tools(attempt: Attempt) -> None:
    attempt._tool_uses.append(a_tool_use(step=UNSTORABLE))


def poison_words(attempt: Attempt) -> None:
    attempt.report({"text": "\x00"})


async def ended(database: Database, person: Person, run_id: UUID) -> runs.Run:
    async with database.as_organization(person.org_id) as tx:
        return await runs.get_run(tx, person.actor, run_id=run_id)


def started(recorder: Recorder, database: Database, claim: Claim) -> Attempt:
    attempt = Attempt(claim, database.feed, "scripted", "scripted")
    recorder.start(attempt)
    return attempt


def finish(recorder: Recorder, attempt: Attempt, outcome: Outcome) -> asyncio.Event:
    """End an attempt; the event tells that the recorder has let go of it."""
    done = asyncio.Event()
    recorder.finish(attempt, outcome, done.set)
    return done


@pytest.mark.parametrize("poison", [poison_calls, poison_tools, poison_words])
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_a_run_whose_end_cannot_be_written_ends_bare_and_alone(
    world: World, database: Database, poison: Any, end: str
) -> None:
    firm = await world.organization()
    asked = [await world.ask(firm.admin, await world.chat(firm.admin)) for _ in range(3)]
    claims = {claim.id: claim for claim in await world.claim()}
    loop = asyncio.get_running_loop()

    async with recording(database) as recorder:
        attempts = [started(recorder, database, claims[run.id]) for run in asked]
        await recorder.drain()
        poison(attempts[1])
        sick = {
            "completed": lambda: attempts[1].completed("Можно.", limit=None, approvers=None),
            "failed": lambda: attempts[1].failed("model_timeout", "late"),
            "cancelled": attempts[1].cancelled,
        }[end]()
        began = loop.time()
        dones = [
            finish(recorder, attempts[0], attempts[0].completed("Раз.", limit=None, approvers=None)),
            finish(recorder, attempts[1], sick),
            finish(recorder, attempts[2], attempts[2].completed("Три.", limit=None, approvers=None)),
        ]
        async with asyncio.timeout(5):
            await asyncio.gather(*(done.wait() for done in dones))
        took = loop.time() - began

    first, second, third = [await ended(database, firm.admin, run.id) for run in asked]
    assert (first.status, third.status) == ("completed", "completed")
    if end == "cancelled":
        assert (second.status, second.error_code) == ("cancelled", None)
    else:
        assert (second.status, second.error_code) == ("failed", "internal_error")
    assert took < 1
    async with database.as_organization(firm.id) as tx:
        events = await runs.events_after(tx, run_id=asked[1].id, after=0)
    assert events[-1].kind == f"run.{second.status}"
