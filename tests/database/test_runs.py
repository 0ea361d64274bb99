"""The life of a run: one holder at a time, one end, nothing left by those who come late."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.database import Database, Transaction
from engine.domains import chats, runs
from engine.domains.runs import Claim, RunEvent, RunsOffered, RunsTaken, Taker, ToolUse
from engine.domains.usage import ModelCall
from tests.world import Person, World, completed, failed

ALL_ROLES = "@@lawyer @@hr @@accountant @@chu @@assistant"


async def status_of(database: Database, person: Person, run_id: UUID) -> str:
    async with database.as_organization(person.org_id) as tx:
        return (await runs.get_run(tx, person.actor, run_id=run_id)).status


async def count(owner_url: str, table: str) -> int:
    connection = await asyncpg.connect(owner_url)
    number: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    await connection.close()
    return number


async def expire_leases(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute(
        "UPDATE runs SET lease_until = now() - interval '1 second' WHERE status = 'running'"
    )
    await connection.close()


def busy(claim: Claim, text: str = "Можно.") -> runs.Outcome:
    """An attempt that leaves a line in every table that attempts write to."""
    outcome = completed(claim, text, approvers=["asker"])
    call = ModelCall(
        claim.id, claim.fence, 1, claim.asker_id, claim.role_code, "scripted", "m", 5, 7, False, 3, 9
    )
    outcome.calls.append(call)
    return outcome


async def test_a_run_is_queued_with_its_message_and_claimed_once(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    run = await world.ask(firm.admin, chat_id)

    (claim,) = await world.claim()

    assert (claim.id, claim.org_id, claim.answer_id) == (run.id, firm.id, run.answer_id)
    assert (claim.fence, claim.attempts, claim.is_takeover) == (1, 1, False)
    assert await world.claim() == []
    assert await status_of(database, firm.admin, run.id) == "running"


async def test_a_worker_with_room_holds_a_run_from_its_message_on_unless_it_is_not_its_turn(
    world: World, database: Database, database_url: str
) -> None:
    taken: list[RunsTaken] = []
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)

    async def take_lawyers(_: Transaction, offered: RunsOffered) -> Taker:
        return Taker("eager", 60, tuple(code == "lawyer" for code in offered.role_codes))

    database.bus.on(RunsOffered, take_lawyers)
    database.feed.on(RunsTaken, taken.append)
    first = await world.ask(firm.admin, chat_id, "@@lawyer раз")
    second = await world.ask(firm.admin, chat_id, "@@lawyer два")
    colleague = await world.ask(firm.admin, chat_id, "@@hr")

    (hers,) = taken
    (claim,) = hers.claims
    assert (hers.worker, claim.id, claim.fence, claim.attempts) == ("eager", first.id, 1, 1)
    assert [each.id for each in await world.claim()] == [colleague.id]
    await expire_leases(database_url)
    takeover = next(each for each in await world.claim(worker="w2") if each.id == first.id)
    assert takeover.is_takeover
    assert await world.finish(busy(claim, "поздно")) == set()
    assert await world.finish(busy(takeover)) == {first.id}
    assert [each.id for each in await world.claim()] == [second.id]


async def test_one_role_answers_in_a_chat_in_the_order_in_which_it_was_asked(world: World) -> None:
    firm = await world.organization()
    here, there = await world.chat(firm.admin), await world.chat(firm.admin)
    first, second = [await world.ask(firm.admin, here, f"@@lawyer {n}") for n in range(2)]
    elsewhere = await world.ask(firm.admin, there)
    colleague = await world.ask(firm.admin, here, "@@hr")

    at_once = await world.claim()
    assert {claim.id for claim in at_once} == {first.id, elsewhere.id, colleague.id}
    await world.finish(completed(next(claim for claim in at_once if claim.id == first.id)))

    assert [claim.id for claim in await world.claim()] == [second.id]


async def test_workers_that_claim_at_once_never_hold_one_run_or_two_of_a_role_in_a_chat(
    world: World,
) -> None:
    firm = await world.organization()
    chat_ids = [await world.chat(firm.admin) for _ in range(4)]
    for chat_id in chat_ids * 3:
        await world.post(firm.admin, chat_id, ALL_ROLES)
    answered: list[UUID] = []
    held: set[tuple[UUID, str]] = set()

    async def work(worker: str) -> None:
        while len(answered) < 60:
            for claim in await world.claim(worker=worker, count=3):
                assert (claim.chat_id, claim.role_code) not in held
                held.add((claim.chat_id, claim.role_code))
                await asyncio.sleep(0)
                held.discard((claim.chat_id, claim.role_code))
                assert await world.finish(completed(claim)) == {claim.id}
                answered.append(claim.id)

    async with asyncio.timeout(30):
        await asyncio.gather(*(work(f"w{n}") for n in range(6)))

    assert len(answered) == len(set(answered)) == 60


async def test_a_late_finish_is_refused_and_leaves_nothing(
    world: World, database: Database, database_url: str
) -> None:
    firm = await world.organization()
    run = await world.ask(firm.admin, await world.chat(firm.admin))
    (late,) = await world.claim(lease_seconds=0)
    (holder,) = await world.claim(worker="w2")
    before = {name: await count(database_url, name) for name in ("messages", "events", "run_events")}

    assert await world.finish(busy(late, "поздно")) == set()

    assert (holder.fence, holder.attempts, holder.is_takeover) == (2, 2, True)
    assert {name: await count(database_url, name) for name in before} == before
    assert await count(database_url, "drafts") == await count(database_url, "model_calls") == 0
    assert await world.finish(busy(holder, "вовремя")) == {run.id}
    assert await world.finish(busy(holder, "снова")) == set()
    async with database.as_organization(firm.id) as tx:
        answers = await chats.messages_by_ids(tx, [run.answer_id])
    assert answers[run.answer_id].content == "вовремя"
    assert await count(database_url, "drafts") == await count(database_url, "model_calls") == 1


async def test_of_a_batch_only_the_late_ones_are_refused(world: World, database_url: str) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    await world.post(firm.admin, chat_id, "@@lawyer @@hr")
    late = await world.claim(lease_seconds=60)
    lost, kept = late
    await expire_leases(database_url)
    async with world.database.across_organizations(reason="a test's worker") as tx:
        await runs.renew(tx, [kept], lease_seconds=60)
    assert [claim.id for claim in await world.claim(worker="w2")] == [lost.id]

    assert await world.finish(busy(lost), busy(kept)) == {kept.id}
    assert await count(database_url, "drafts") == 1


async def test_a_lease_holds_until_it_runs_out_and_as_long_as_it_is_renewed(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    await world.ask(firm.admin, await world.chat(firm.admin))
    (claim,) = await world.claim(lease_seconds=0.3)

    for _ in range(4):
        await asyncio.sleep(0.1)
        async with database.across_organizations(reason="a test's worker") as tx:
            assert await runs.renew(tx, [claim], lease_seconds=0.3) == {claim.id: False}
        assert await world.claim(worker="w2") == []
    await asyncio.sleep(0.35)
    (taken,) = await world.claim(worker="w2")

    assert taken.fence == claim.fence + 1
    async with database.across_organizations(reason="a test's worker") as tx:
        assert await runs.renew(tx, [claim], lease_seconds=60) == {}
        await runs.hand_back(tx, [claim])
    assert await status_of(database, firm.admin, claim.id) == "running"


async def test_handing_back_counts_no_attempt_and_frees_at_once(world: World, database: Database) -> None:
    firm = await world.organization()
    await world.ask(firm.admin, await world.chat(firm.admin))

    for fence in range(1, 8):
        (claim,) = await world.claim()
        assert (claim.fence, claim.attempts) == (fence, 1)
        async with database.across_organizations(reason="a test's worker") as tx:
            await runs.hand_back(tx, [claim])
        assert await world.finish(completed(claim)) == set()


async def test_every_lost_attempt_is_counted(world: World) -> None:
    firm = await world.organization()
    await world.ask(firm.admin, await world.chat(firm.admin))

    assert [(await world.claim(lease_seconds=0))[0].attempts for _ in range(6)] == [1, 2, 3, 4, 5, 6]


async def test_a_waiting_run_is_cancelled_at_once_and_a_working_one_is_marked(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    working, waiting = [await world.ask(firm.admin, chat_id, f"@@lawyer {n}") for n in range(2)]
    (claim,) = await world.claim(worker="w1")

    async with database.as_organization(firm.id) as tx:
        marked = await runs.cancel(tx, firm.admin.actor, run_id=working.id)
        cancelled = await runs.cancel(tx, firm.admin.actor, run_id=waiting.id)
        with pytest.raises(runs.RunHasEnded):
            await runs.cancel(tx, firm.admin.actor, run_id=waiting.id)

    assert (marked.status, cancelled.status) == ("running", "cancelled")
    async with database.across_organizations(reason="a test's worker") as tx:
        assert await runs.cancel_requests(tx, worker="w1") == [working.id]
        assert await runs.renew(tx, [claim], lease_seconds=60) == {working.id: True}
    assert await world.claim() == []
    async with database.as_organization(firm.id) as tx:
        (last,) = await runs.events_after(tx, run_id=waiting.id, after=-1)
    assert last.kind == "run.cancelled"


async def test_a_wish_to_stop_survives_a_takeover(world: World, database: Database) -> None:
    firm = await world.organization()
    run = await world.ask(firm.admin, await world.chat(firm.admin))
    await world.claim(lease_seconds=0)
    async with database.as_organization(firm.id) as tx:
        await runs.cancel(tx, firm.admin.actor, run_id=run.id)

    (claim,) = await world.claim(worker="w2")

    assert claim.cancel_requested


async def test_only_a_run_that_failed_or_was_cancelled_is_retried_and_from_its_first_attempt(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    run = await world.ask(firm.admin, chat_id)

    async def retry() -> runs.Run:
        async with database.as_organization(firm.id) as tx:
            return await runs.retry(tx, firm.admin.actor, run_id=run.id)

    with pytest.raises(runs.RunNotRetryable):
        await retry()
    (claim,) = await world.claim()
    with pytest.raises(runs.RunNotRetryable):
        await retry()
    await world.finish(failed(claim))
    retried = await retry()
    assert (retried.status, retried.error_code, retried.finished_at) == ("queued", None, None)
    (again,) = await world.claim()
    assert (again.fence, again.attempts, again.cancel_requested) == (2, 1, False)
    assert await world.finish(completed(again)) == {run.id}
    with pytest.raises(runs.RunNotRetryable):
        await retry()


async def test_a_retried_run_waits_behind_what_its_role_was_asked_since(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    first = await world.ask(firm.admin, chat_id)
    await world.finish(failed((await world.claim())[0]))
    second = await world.ask(firm.admin, chat_id)
    async with database.as_organization(firm.id) as tx:
        await runs.retry(tx, firm.admin.actor, run_id=first.id)

    (claim,) = await world.claim()
    assert claim.id == second.id
    await world.finish(completed(claim))
    assert [one.id for one in await world.claim()] == [first.id]


async def test_only_who_asked_or_an_administrator_in_the_chat_stops_and_repeats(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    asker, member, outsider = [await world.user(firm) for _ in range(3)]
    chat_id = await world.chat(asker, member)
    run = await world.ask(asker, chat_id)

    async with database.as_organization(firm.id) as tx:
        for verb in (runs.cancel, runs.retry):
            with pytest.raises(runs.NotYourRun):
                await verb(tx, member.actor, run_id=run.id)
            for stranger in (outsider, firm.admin):
                with pytest.raises(runs.RunNotFound):
                    await verb(tx, stranger.actor, run_id=run.id)
        assert (await runs.get_run(tx, member.actor, run_id=run.id)).id == run.id


async def test_an_answer_that_cannot_be_stored_rolls_the_whole_finish_back(
    world: World, database_url: str
) -> None:
    firm = await world.organization()
    await world.ask(firm.admin, await world.chat(firm.admin))
    (claim,) = await world.claim()
    events = await count(database_url, "events")

    for text in ("до\0после", "половина \ud800", "я" * 400_001):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, UnicodeError)):
            await world.finish(busy(claim, text))

    assert await count(database_url, "events") == events
    assert await count(database_url, "model_calls") == 0
    assert await world.finish(busy(claim, "годится")) == {claim.id}


async def test_events_of_a_run_come_in_order_once_and_from_any_id(world: World, database: Database) -> None:
    firm = await world.organization()
    run = await world.ask(firm.admin, await world.chat(firm.admin))
    batches = [
        [RunEvent(n, "run.delta", {"text": f"{n}"}) for n in ids] for ids in ((5, 6, 7), (1, 2), (3, 4))
    ]

    async with database.as_organization(firm.id) as tx:
        for batch in [*batches, *batches]:  # A writer that lost its connection writes again.
            await runs.write_events(tx, [(run.id, batch)])
        for after in range(-1, 9):
            found = await runs.events_after(tx, run_id=run.id, after=after)
            assert [event.id for event in found] == [n for n in range(1, 8) if n > after]


async def test_a_use_of_a_tool_is_kept_once_however_often_it_is_told(
    world: World, database: Database, database_url: str
) -> None:
    firm = await world.organization()
    await world.ask(firm.admin, await world.chat(firm.admin))
    (claim,) = await world.claim()
    use = ToolUse(1, 1, "call-1", "search_messages", {"query": "срок"}, "ok", "ничего", 0.1)

    for _ in range(3):
        async with database.as_organization(firm.id) as tx:
            await runs.record_tools(tx, claim, [use])

    assert await count(database_url, "tool_calls") == 1


@dataclass
class Ledger:
    """What a correct queue would say, beside the real one."""

    waiting: dict[tuple[UUID, str], list[UUID]] = field(default_factory=lambda: defaultdict(list))
    held: dict[UUID, Claim] = field(default_factory=dict)
    stale: list[Claim] = field(default_factory=list)
    ended: set[UUID] = field(default_factory=set)

    def hold(self, claim: Claim) -> None:
        place = (claim.chat_id, claim.role_code)
        assert self.waiting[place][0] == claim.id, "out of order"
        if claim.id in self.held:
            assert claim.fence > self.held[claim.id].fence
            self.stale.append(self.held[claim.id])
        self.held[claim.id] = claim

    def end(self, claim: Claim) -> None:
        self.waiting[claim.chat_id, claim.role_code].remove(claim.id)
        self.ended.add(claim.id)
        del self.held[claim.id]


STEPS = ("ask", "ask", "claim", "claim", "finish", "fail", "late finish", "hand back", "silence")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), max_size=30))
async def test_whatever_workers_do_each_run_has_one_holder_its_turn_and_one_end(
    world: World, database_url: str, steps: list[tuple[str, int]]
) -> None:
    firm = await world.organization()
    chat_ids = [await world.chat(firm.admin) for _ in range(2)]
    ledger = Ledger()

    for step, n in steps:
        held = list(ledger.held.values())
        if step == "ask":
            role = ("lawyer", "hr")[n % 2]
            run = await world.ask(firm.admin, chat_ids[n % 4 // 2], f"@@{role}")
            ledger.waiting[run.chat_id, role].append(run.id)
        elif step == "claim":
            claims = await world.claim(worker=f"w{n}", count=1 + n % 3)
            assert not {claim.id for claim in claims} & ledger.ended
            for claim in claims:
                ledger.hold(claim)
        elif step == "silence":
            await expire_leases(database_url)
        elif step == "late finish" and ledger.stale:
            assert await world.finish(completed(ledger.stale[n % len(ledger.stale)])) == set()
        elif held and step in ("finish", "fail"):
            claim = held[n % len(held)]
            assert await world.finish((completed if step == "finish" else failed)(claim)) == {claim.id}
            ledger.end(claim)
        elif held and step == "hand back":
            claim = held[n % len(held)]
            async with world.database.across_organizations(reason="a test's worker") as tx:
                await runs.hand_back(tx, [claim])
            ledger.stale.append(ledger.held.pop(claim.id))

    await expire_leases(database_url)
    while claims := await world.claim():
        for claim in claims:
            ledger.hold(claim)
            assert await world.finish(completed(claim)) == {claim.id}
            ledger.end(claim)
    assert not any(ledger.waiting.values())


async def test_every_end_of_a_run_is_told_once_in_its_transaction(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    told: list[runs.RunEnd] = []

    async def hear(_tx: Transaction, ended: runs.RunsEnded) -> None:
        told.extend(ended.ends)

    database.bus.on(runs.RunsEnded, hear)
    signed, broken, unwanted = [
        await world.ask(firm.admin, chat_id, f"@@{code}?") for code in ("lawyer", "hr", "chu")
    ]
    async with database.as_organization(firm.id) as tx:
        await runs.cancel(tx, firm.admin.actor, run_id=unwanted.id)
    claims = {claim.id: claim for claim in await world.claim()}

    await world.finish(completed(claims[signed.id], approvers=["asker"]), failed(claims[broken.id]))
    await world.finish(failed(claims[signed.id]))  # a late one

    assert {(end.run_id, end.status, end.error_code) for end in told} == {
        (unwanted.id, "cancelled", None),
        (signed.id, "completed", None),
        (broken.id, "failed", "model_unavailable"),
    }
    assert len(told) == 3
    assert {end.asker_id for end in told} == {firm.admin.id}
