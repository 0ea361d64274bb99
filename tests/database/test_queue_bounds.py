"""A queue that one person cannot fill for the others, and that stays quick however long it is."""

import asyncio
from time import perf_counter
from uuid import UUID

import asyncpg
import pytest

from engine.api.errors import problem_of
from engine.core.database import Database
from engine.domains import chats, runs
from engine.domains.runs.service import MOST_WAITING, MOST_WAITING_OF_A_ROLE, MOST_WAITING_OF_AN_ASKER
from tests.unit.scripted_model import SHIPPED
from tests.world import Firm, Person, World, completed, failed

CLAIM_SECONDS = 1.0  # It takes milliseconds; one that compares every run with every other takes 3 s here.


async def stuff(owner_url: str, asker: Person, chat_id: UUID, count: int, role: str = "hr") -> None:
    """Let runs wait that nobody has to post one by one."""
    connection = await asyncpg.connect(owner_url)
    await connection.execute(
        """
        WITH said AS (
            INSERT INTO messages (org_id, chat_id, no, author_id, content)
            SELECT $1, $2, 1000000 + n + (SELECT count(*) FROM messages), $3, '?'
              FROM generate_series(1, $4) AS n
            RETURNING id, no
        )
        INSERT INTO runs (org_id, chat_id, message_id, role_code, asker_id, position)
        SELECT $1, $2, id, $5, $3, no FROM said
        """,
        asker.org_id,
        chat_id,
        asker.id,
        count,
        role,
    )
    await connection.close()


async def stored(owner_url: str) -> tuple[int, int, int]:
    connection = await asyncpg.connect(owner_url)
    messages, queued, events = [
        await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("messages", "runs", "events")
    ]
    await connection.close()
    return messages, queued, events


async def refused(world: World, url: str, person: Person, chat_id: UUID, text: str, limit: int) -> None:
    before = await stored(url)
    with pytest.raises(runs.TooManyRuns) as refusal:
        await world.post(person, chat_id, text)
    assert refusal.value.details == {"limit": limit, "retry_after_seconds": 30}
    assert await stored(url) == before


async def test_so_many_wait_for_a_role_in_a_chat_and_no_more(world: World, database_url: str) -> None:
    firm = await world.organization()
    chat_id, other_id = await world.chat(firm.admin), await world.chat(firm.admin)
    for _ in range(MOST_WAITING_OF_A_ROLE):
        await world.ask(firm.admin, chat_id)

    await refused(world, database_url, firm.admin, chat_id, "@@hr @@lawyer", MOST_WAITING_OF_A_ROLE)

    await world.post(firm.admin, chat_id, "просто слова")
    await world.ask(firm.admin, chat_id, "@@hr")
    await world.ask(firm.admin, other_id)
    await world.claim()
    await world.ask(firm.admin, chat_id)  # One is at work and waits no more.
    await refused(world, database_url, firm.admin, chat_id, "@@lawyer", MOST_WAITING_OF_A_ROLE)


def test_who_asks_too_much_is_told_when_to_ask_again() -> None:
    answer = problem_of(runs.TooManyRuns("Too many.", limit=20), request_id="r")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")


async def test_questions_at_once_do_not_pass_the_bound_of_a_role(world: World) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)

    posted = await asyncio.gather(
        *(world.post(firm.admin, chat_id, "@@lawyer") for _ in range(MOST_WAITING_OF_A_ROLE + 10)),
        return_exceptions=True,
    )

    assert sum(isinstance(each, chats.Posted) for each in posted) == MOST_WAITING_OF_A_ROLE
    assert sum(isinstance(each, runs.TooManyRuns) for each in posted) == 10


async def test_one_persons_questions_are_bounded_and_the_others_may_ask(
    world: World, database_url: str
) -> None:
    firm = await world.organization()
    greedy = await world.user(firm)
    chat_id = await world.chat(firm.admin, greedy)
    await stuff(database_url, greedy, chat_id, MOST_WAITING_OF_AN_ASKER - 1)

    await refused(world, database_url, greedy, chat_id, "@@lawyer @@chu", MOST_WAITING_OF_AN_ASKER)
    await world.ask(greedy, chat_id)
    await refused(world, database_url, greedy, chat_id, "@@chu", MOST_WAITING_OF_AN_ASKER)

    await world.ask(firm.admin, chat_id)


async def test_an_organizations_questions_are_bounded_and_the_other_organizations_may_ask(
    world: World, database_url: str
) -> None:
    firm, other = await world.organization(), await world.organization("Другая", admin="bob")
    people = [await world.user(firm) for _ in range(6)]
    chat_id = await world.chat(firm.admin, *people)
    for person, count in zip(people, (199, 199, 199, 199, 199, 5), strict=True):
        await stuff(database_url, person, chat_id, count)

    await refused(world, database_url, firm.admin, chat_id, "@@lawyer", MOST_WAITING)

    await world.ask(other.admin, await world.chat(other.admin))


async def test_a_retry_is_bounded_like_a_question(
    world: World, database: Database, database_url: str
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    run = await world.ask(firm.admin, chat_id)
    await world.finish(failed((await world.claim())[0]))
    await stuff(database_url, firm.admin, chat_id, MOST_WAITING_OF_A_ROLE, role="lawyer")

    with pytest.raises(runs.TooManyRuns):
        async with database.as_organization(firm.id) as tx:
            await runs.retry(tx, firm.admin.actor, run_id=run.id)


async def test_a_long_queue_in_one_chat_costs_a_claim_nothing(world: World, database_url: str) -> None:
    firm, other = await world.organization(), await world.organization("Другая", admin="bob")
    chat_id = await world.chat(firm.admin)
    await stuff(database_url, firm.admin, chat_id, 12_000)
    own = await world.ask(other.admin, await world.chat(other.admin))

    began = perf_counter()
    claims = await world.claim()

    assert perf_counter() - began < CLAIM_SECONDS
    assert len(claims) == 2
    assert own.id in {claim.id for claim in claims}


async def test_a_pool_takes_its_roles_and_the_default_pool_takes_all_others(world: World) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    asked = {code: await world.ask(firm.admin, chat_id, f"@@{code}") for code in ("lawyer", "hr", "chu")}

    heavy = await world.claim(share=runs.Share(only=("lawyer",)))
    rest = await world.claim(share=runs.Share(but=("lawyer",)))

    assert [claim.id for claim in heavy] == [asked["lawyer"].id]
    assert {claim.id for claim in rest} == {asked["hr"].id, asked["chu"].id}
    assert await world.claim(share=runs.Share(only=())) == []


@pytest.mark.parametrize("of_whom", ["one organization", "many organizations"])
async def test_what_waits_for_other_pools_costs_a_claim_little(
    world: World, database_url: str, of_whom: str
) -> None:
    firm = await world.organization()
    own = await world.ask(firm.admin, await world.chat(firm.admin), "@@hr")
    firms = [firm]
    if of_whom == "many organizations":
        firms += [await world.organization(f"Другая {n}", admin=f"bob{n}") for n in range(20)]
    for each in firms:
        await many_chats(database_url, each, 12_000 // len(firms))

    seconds, found = [], []
    for _ in range(40):
        began = perf_counter()
        found += await world.claim(share=runs.Share(only=("hr",)))
        seconds.append(perf_counter() - began)
        if found:
            break

    assert [claim.id for claim in found] == [own.id]
    assert max(seconds) < CLAIM_SECONDS


async def test_the_load_counts_what_could_be_taken_now_by_role(world: World, database: Database) -> None:
    firm, other = await world.organization(), await world.organization("Другая", admin="bob")
    chat_id = await world.chat(firm.admin)
    for _ in range(3):  # The second and third wait for the first, not for a worker.
        await world.ask(firm.admin, chat_id, "@@lawyer")
    await world.ask(firm.admin, chat_id, "@@hr")
    await world.ask(other.admin, await world.chat(other.admin), "@@hr")
    await world.claim(share=runs.Share(only=("lawyer",)))

    async with database.across_organizations(reason="a test") as tx:
        load = await runs.load(tx)

    assert {code: (each.waiting, each.running) for code, each in load.items()} == {
        "lawyer": (0, 1),
        "hr": (2, 0),
    }
    assert 0 < load["hr"].oldest_seconds < 60
    assert load["lawyer"].oldest_seconds == 0


async def test_what_a_dead_worker_held_can_be_taken_at_once_and_the_dead_one_ends_nothing(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    await world.ask(firm.admin, await world.chat(firm.admin))
    (of_the_dead,) = await world.claim(worker="dead")
    other = await world.ask(firm.admin, await world.chat(firm.admin))
    await world.claim(worker="alive")

    async with database.across_organizations(reason="a test") as tx:
        assert await runs.take_from(tx, ["dead", "never seen"]) == 1
    async with database.across_organizations(reason="a test") as tx:
        assert await runs.take_from(tx, ["dead"]) == 0
    (taken,) = await world.claim(worker="heir")

    assert (taken.id, taken.fence) == (of_the_dead.id, of_the_dead.fence + 1)
    assert taken.id != other.id
    assert await world.finish(completed(of_the_dead)) == set()
    assert await world.finish(completed(taken)) == {taken.id}


async def test_organizations_take_turns(world: World) -> None:
    busy, quiet = await world.organization(), await world.organization("Другая", admin="bob")
    busy_runs = [await world.ask(busy.admin, await world.chat(busy.admin)) for _ in range(6)]
    quiet_run = await world.ask(quiet.admin, await world.chat(quiet.admin))

    first = await world.claim(count=2)
    rest = await world.claim(count=3)

    assert {claim.id for claim in first} == {busy_runs[0].id, quiet_run.id}
    assert {claim.id for claim in rest} == {run.id for run in busy_runs[1:4]}


async def test_of_more_chats_than_one_look_takes_in_none_is_left_out(world: World, database_url: str) -> None:
    firm = await world.organization()
    chat_ids = await many_chats(database_url, firm, 2_000)
    claimed: set[UUID] = set()

    for _ in range(200):
        claims = await world.claim()
        claimed |= {claim.chat_id for claim in claims}
        if not claims:
            break

    assert claimed == chat_ids


async def many_chats(owner_url: str, firm: Firm, count: int) -> set[UUID]:
    connection = await asyncpg.connect(owner_url)
    rows = await connection.fetch(
        """
        WITH opened AS (
            INSERT INTO chats (org_id, title, kind, created_by)
            SELECT $1, 'Чат', 'group', $2 FROM generate_series(1, $3)
            RETURNING id
        ), said AS (
            INSERT INTO messages (org_id, chat_id, no, author_id, content)
            SELECT $1, id, 1, $2, '?' FROM opened
            RETURNING id, chat_id
        )
        INSERT INTO runs (org_id, chat_id, message_id, role_code, asker_id, position)
        SELECT $1, chat_id, id, 'lawyer', $2, 1 FROM said
        RETURNING chat_id
        """,
        firm.id,
        firm.admin.id,
        count,
    )
    await connection.close()
    return {row["chat_id"] for row in rows}


async def test_deleting_a_chat_cancels_what_waits_and_stops_what_works_there(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id, other_id = await world.chat(firm.admin), await world.chat(firm.admin)
    working, waiting = [await world.ask(firm.admin, chat_id) for _ in range(2)]
    elsewhere = await world.ask(firm.admin, other_id)
    await world.claim(worker="w1")
    told: list[object] = []
    database.feed.on(runs.CancelRequested, told.append)

    async with database.as_organization(firm.id) as tx:
        await chats.delete_chat(tx, firm.admin.actor, chat_id=chat_id)

    async with database.across_organizations(reason="a test's worker") as tx:
        assert await runs.cancel_requests(tx, worker="w1") == [working.id]
    assert told == [runs.CancelRequested(working.id)]
    async with database.as_organization(firm.id) as tx:
        (last,) = await runs.events_after(tx, run_id=waiting.id, after=-1)
        (here,) = await runs.runs_of_message(tx, waiting.message_id)
        (there,) = await runs.runs_of_message(tx, elsewhere.message_id)
    assert (last.kind, here.status, there.status) == ("run.cancelled", "cancelled", "running")


async def test_a_question_and_the_deletion_of_its_chat_leave_nothing_waiting(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)

    async def delete() -> None:
        async with database.as_organization(firm.id) as tx:
            await chats.delete_chat(tx, firm.admin.actor, chat_id=chat_id)

    posts = [world.post(firm.admin, chat_id, f"@@lawyer {n}") for n in range(8)]
    outcomes = await asyncio.gather(*posts[:4], delete(), *posts[4:], return_exceptions=True)

    assert {type(each) for each in outcomes} <= {chats.Posted, chats.ChatNotFound, type(None)}
    assert await world.claim() == []


async def test_an_answer_that_is_ready_in_a_deleted_chat_ends_as_cancelled(
    world: World, database: Database, database_url: str
) -> None:
    firm = await world.organization()
    chat_id, other_id = await world.chat(firm.admin), await world.chat(firm.admin)
    late, kept = await world.ask(firm.admin, chat_id), await world.ask(firm.admin, other_id)
    claims = await world.claim()
    async with database.as_organization(firm.id) as tx:
        await chats.delete_chat(tx, firm.admin.actor, chat_id=chat_id)

    ended = await world.finish(*(completed(claim, approvers=["asker"]) for claim in claims))

    assert ended == {late.id, kept.id}
    async with database.as_organization(firm.id) as tx:
        (gone,) = await runs.runs_of_message(tx, late.message_id)
        (there,) = await runs.runs_of_message(tx, kept.message_id)
        posted = await chats.messages_by_ids(tx, [late.answer_id, kept.answer_id])
        heard = await runs.events_after(tx, run_id=late.id, after=-1)
    assert (gone.status, there.status) == ("cancelled", "completed")
    assert list(posted) == [kept.answer_id]
    assert [event.kind for event in heard] == ["run.cancelled"]
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM drafts") == 1
    await connection.close()


async def test_a_retry_asks_again_whether_the_role_may_be_called(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    run = await world.ask(firm.admin, chat_id)
    await world.finish(failed((await world.claim())[0]))

    async def allow(*roles: str) -> None:
        async with database.as_organization(firm.id) as tx:
            await chats.change_chat(tx, firm.admin.actor, chat_id=chat_id, roles=roles, known_roles=SHIPPED)

    async def retry() -> runs.Run:
        async with database.as_organization(firm.id) as tx:
            return await runs.retry(tx, firm.admin.actor, run_id=run.id)

    await allow("hr")
    with pytest.raises(runs.RunNotRetryable) as refusal:
        await retry()
    assert refusal.value.details == {"role": "lawyer"}
    await allow()
    assert (await retry()).status == "queued"
    await world.finish(failed((await world.claim())[0]))
    async with database.as_organization(firm.id) as tx:
        await chats.delete_chat(tx, firm.admin.actor, chat_id=chat_id)
    with pytest.raises(runs.RunNotFound):
        await retry()
