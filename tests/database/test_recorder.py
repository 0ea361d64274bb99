"""What cannot be written of one run ends that run, and hurts no other."""

import asyncio
import random
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


async def test_whoever_sees_an_end_sees_all_the_words_before_it(world: World, database: Database) -> None:
    """Several transactions are on their way at once, and of each run one at most."""
    firms = [await world.organization(name) for name in ("Первая", "Вторая", "Третья")]
    people = [firm.admin for firm in firms for _ in range(5)]
    asked = {(await world.ask(person, await world.chat(person))).id: person for person in people}
    dice = random.Random(11)
    said: dict[UUID, list[str]] = {run_id: [] for run_id in asked}
    is_over = False

    async def speak(attempt: Attempt, recorder: Recorder) -> None:
        for number in range(8):
            word = f"{number} "
            said[attempt.claim.id].append(word)
            attempt.say(word)
            attempt.speak()
            recorder.words(attempt)
            if dice.random() < 0.3:
                attempt.report({"kind": "tool", "name": "current_time", "status": "done"})
                recorder.step(attempt)
            await asyncio.sleep(dice.random() / 50)
        text = "".join(said[attempt.claim.id])
        await finish(recorder, attempt, attempt.completed(text, limit=None, approvers=None)).wait()

    async def watch() -> None:
        while not is_over:
            for run_id, person in asked.items():
                async with database.as_organization(person.org_id) as tx:
                    status = (await runs.get_run(tx, person.actor, run_id=run_id)).status
                    events = await runs.events_after(tx, run_id=run_id, after=-1)
                told = [event.data["text"] for event in events if event.kind == "run.delta"]
                assert [event.id for event in events] == sorted({event.id for event in events})
                assert told == said[run_id][: len(told)], "words without a gap"
                assert status != "completed" or told == said[run_id]

    async with recording(database) as recorder:
        claims = [claim for claim in await world.claim(count=len(asked)) if claim.id in asked]
        attempts = [started(recorder, database, claim) for claim in claims]
        watching = asyncio.create_task(watch())
        async with asyncio.timeout(20):
            await asyncio.gather(*(speak(attempt, recorder) for attempt in attempts))
            await recorder.drain()
        is_over = True
        await watching

    assert len(attempts) == len(asked)
    for run_id, person in asked.items():
        assert (await ended(database, person, run_id)).status == "completed"
