"""What is asked at the same moment is done in one transaction, and nobody suffers for another's request."""

import asyncio
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine.core.database import Database, DatabaseAway, Transaction, events_after
from engine.core.errors import Refusal
from engine.core.sql import parse
from engine.core.together import AT_ONCE, LOCK_SECONDS, Together
from engine.domains import chats, runs
from engine.domains.chats.errors import TooManyRoles
from tests.unit.scripted_model import SHIPPED
from tests.world import ManyRoles, World, completed


class Notes:
    """Announces what it is asked to, once it may, and remembers what was asked together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.organizations: list[UUID | None] = []
        self.may_go_on = asyncio.Event()

    async def keep(self, tx: Transaction, notes: list[str]) -> list[str]:
        self.batches.append(notes)
        self.organizations.append(tx.org_id)
        await self.may_go_on.wait()
        for note in notes:
            if note.startswith("bad"):
                raise ValueError(note)
            channel = cast(UUID, "no id") if note == "breaks the commit" else uuid4()
            tx.announce(channel, "note", {"note": note})
        return [note.upper() for note in notes]


async def kept(database: Database, org_id: UUID) -> list[str]:
    async with database.as_organization(org_id) as tx:
        rows = await events_after(tx, after=0, channels=None, limit=1000)
    return sorted(row["data"]["note"] for row in rows if row["kind"] == "note")


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_who_asks_while_others_are_at_work_is_served_together(world: World, database: Database) -> None:
    firm = await world.organization()
    notes = Notes()
    together = Together(database, notes.keep, apart=str)

    first = []
    for n in range(AT_ONCE):
        first.append(asyncio.create_task(together.ask(firm.id, f"first {n}")))
        await until(lambda so_many=n + 1: len(notes.batches) == so_many)
    later = [asyncio.create_task(together.ask(firm.id, f"later {n}")) for n in range(20)]
    await asyncio.sleep(0.05)
    waited = len(notes.batches)
    notes.may_go_on.set()

    assert await asyncio.gather(*first) == [f"FIRST {n}" for n in range(AT_ONCE)]
    assert await asyncio.gather(*later) == [f"LATER {n}" for n in range(20)]
    assert waited == AT_ONCE
    assert [len(batch) for batch in notes.batches] == [1] * AT_ONCE + [20]
    assert len(await kept(database, firm.id)) == AT_ONCE + 20


async def test_so_many_are_done_together_and_none_of_one_place(world: World, database: Database) -> None:
    firm = await world.organization()
    notes = Notes()
    notes.may_go_on.set()
    together = Together(database, notes.keep, apart=lambda note: note[0], most=3)

    asked = ["a1", "a2", "b1", "c1", "d1", "e1"]  # Their first letters are their places.
    given = await asyncio.gather(*(together.ask(firm.id, note) for note in asked))

    assert given == [note.upper() for note in asked]
    assert sorted(note for batch in notes.batches for note in batch) == asked
    assert all(len(batch) <= 3 and len({note[0] for note in batch}) == len(batch) for batch in notes.batches)
    assert len(notes.batches) <= 3


async def test_what_is_refused_hurts_nobody_else(world: World, database: Database) -> None:
    firm = await world.organization()
    notes = Notes()
    notes.may_go_on.set()
    together = Together(database, notes.keep, apart=str)

    asked = ["good 1", "bad 1", "good 2", "bad 2", "good 3"]
    given = await asyncio.gather(*(together.ask(firm.id, note) for note in asked), return_exceptions=True)

    assert notes.batches[0] == asked
    assert [str(each) for each in given] == ["GOOD 1", "bad 1", "GOOD 2", "bad 2", "GOOD 3"]
    assert [isinstance(each, ValueError) for each in given] == [False, True, False, True, False]
    assert await kept(database, firm.id) == ["good 1", "good 2", "good 3"]


async def test_a_refusal_of_one_does_not_make_the_others_be_done_again(world: World) -> None:
    firm = await world.organization()
    outsider = await world.user(firm)
    chat_ids = [await world.chat(firm.admin) for _ in range(4)]
    batches: list[int] = []

    async def post(tx: Transaction, new: list[chats.NewMessage]) -> list[chats.Posted | Refusal]:
        batches.append(len(new))
        return await chats.post_messages(tx, new, known_roles=ManyRoles())

    world.posts = Together(world.database, post, apart=lambda new: new.chat_id)
    eleven = " ".join(f"@@role{n}" for n in range(11))
    posted = await asyncio.gather(
        world.post(firm.admin, chat_ids[0], "да"),
        world.post(firm.admin, chat_ids[1], eleven),
        world.post(outsider, chat_ids[2], "и я"),
        world.post(firm.admin, chat_ids[3], "нет"),
        return_exceptions=True,
    )

    assert [type(each) for each in posted] == [chats.Posted, TooManyRoles, chats.ChatNotFound, chats.Posted]
    assert batches == [4]


async def test_nothing_is_done_twice_when_a_commit_fails(world: World, database: Database) -> None:
    firm = await world.organization()
    notes = Notes()
    notes.may_go_on.set()
    together = Together(database, notes.keep, apart=str)

    asked = ["breaks the commit", "good"]
    given = await asyncio.gather(*(together.ask(firm.id, note) for note in asked), return_exceptions=True)

    assert all(isinstance(each, asyncpg.DataError) for each in given)
    assert notes.batches == [asked]
    assert await kept(database, firm.id) == []


async def test_two_organizations_never_share_a_transaction(world: World, database: Database) -> None:
    ours, theirs = await world.organization("Ours"), await world.organization("Theirs")
    notes = Notes()
    notes.may_go_on.set()
    together = Together(database, notes.keep, apart=str)

    await asyncio.gather(
        *(together.ask(firm.id, f"{firm.name} {n}") for n in range(10) for firm in (ours, theirs))
    )

    for org_id, batch in zip(notes.organizations, notes.batches, strict=True):
        assert {note.split()[0] for note in batch} == {ours.name if org_id == ours.id else theirs.name}
    assert await kept(database, ours.id) == sorted(f"Ours {n}" for n in range(10))


async def test_who_has_left_before_it_began_has_asked_for_nothing(world: World, database: Database) -> None:
    firm = await world.organization()
    notes = Notes()
    together = Together(database, notes.keep, apart=lambda note: "one place")

    first = asyncio.create_task(together.ask(firm.id, "first"))
    await until(lambda: notes.batches)
    second = asyncio.create_task(together.ask(firm.id, "second"))
    await until(lambda: len(notes.batches) == 2)
    waits = asyncio.create_task(together.ask(firm.id, "waits"))
    leaves = asyncio.create_task(together.ask(firm.id, "leaves"))
    await asyncio.sleep(0)
    leaves.cancel()
    notes.may_go_on.set()

    assert list(await asyncio.gather(first, second, waits)) == ["FIRST", "SECOND", "WAITS"]
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert await kept(database, firm.id) == ["first", "second", "waits"]


async def test_everybody_hears_that_the_database_is_away(world: World, database: Database) -> None:
    firm = await world.organization()
    together = Together(database, Notes().keep, apart=str)
    await database.close()

    given = await asyncio.gather(*(together.ask(firm.id, f"{n}") for n in range(5)), return_exceptions=True)

    assert all(isinstance(each, DatabaseAway) for each in given)


async def test_who_posts_in_a_chat_that_is_held_up_does_not_hold_up_the_others(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_ids = sorted([await world.chat(firm.admin) for _ in range(4)])

    async with database.as_organization(firm.id) as tx:
        await chats.lock_existing(tx, [chat_ids[3]])  # The others are locked before this one is waited for.
        posts = [asyncio.create_task(world.post(firm.admin, chat_id, "да?")) for chat_id in chat_ids]
        async with asyncio.timeout(LOCK_SECONDS + 3):
            others = await asyncio.gather(*posts[:3])
        is_held_up = not posts[3].done()
    posted = await posts[3]

    assert [each.message.no for each in (*others, posted)] == [1] * 4
    assert is_held_up


async def test_who_waits_for_the_logs_counter_is_posted_once(world: World, database_url: str) -> None:
    firm = await world.organization()
    chat_ids = [await world.chat(firm.admin) for _ in range(3)]
    owner = await asyncpg.connect(database_url)
    counter = owner.transaction()
    await counter.start()
    await owner.execute("SELECT FROM event_counters WHERE org_id = $1 FOR UPDATE", firm.id)

    posts = [asyncio.create_task(world.post(firm.admin, chat_id, "да?")) for chat_id in chat_ids]
    await asyncio.wait(posts, timeout=LOCK_SECONDS + 0.5)
    await counter.rollback()
    await owner.close()

    assert [each.message.no for each in await asyncio.gather(*posts)] == [1] * 3


async def test_roles_are_asked_in_the_order_of_the_text_whoever_else_posts(world: World) -> None:
    firm = await world.organization()
    people = [firm.admin, *[await world.user(firm) for _ in range(5)]]
    chat_ids = [await world.chat(person) for person in people]
    roles = ["hr", "lawyer", "chu", "accountant", "assistant"]

    posted = await asyncio.gather(
        *(
            world.post(person, chat_id, " ".join(f"@@{code}" for code in roles))
            for person, chat_id in zip(people, chat_ids, strict=True)
        )
    )

    assert [[run.role_code for run in runs.among(each)] for each in posted] == [roles] * len(people)


async def test_what_is_under_way_is_waited_for(world: World, database: Database) -> None:
    firm = await world.organization()
    notes = Notes()
    together = Together(database, notes.keep, apart=str)
    asked = asyncio.create_task(together.ask(firm.id, "late"))
    await until(lambda: notes.batches)
    asked.cancel()  # Its caller is gone; what it asked for is on its way.

    await together.finish(0.05)
    before = await kept(database, firm.id)
    notes.may_go_on.set()
    await together.finish(5)

    assert (before, await kept(database, firm.id)) == ([], ["late"])


async def test_a_statement_is_planned_once_whatever_the_values(world: World, database: Database) -> None:
    firm = await world.organization()
    statements = parse(
        """-- name: find
SELECT id FROM users WHERE username = :username::text;
-- name: plans
SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT id FROM users%';
"""
    )

    async def find(tx: Transaction, usernames: list[str]) -> list[tuple[int, int]]:
        for username in usernames:
            await tx.all(statements["find"], username=username)
        plans = await tx.one(statements["plans"])
        return [(plans["generic_plans"], plans["custom_plans"])] * len(usernames)

    together = Together(database, find, apart=str)
    counted = await asyncio.gather(*(together.ask(firm.id, username) for username in ("ann", "ivan", "olga")))

    assert counted == [(3, 0)] * 3


async def test_posts_of_one_moment_are_as_if_each_were_alone(world: World, database: Database) -> None:
    firm = await world.organization()
    ivan, outsider = await world.user(firm, "ivan"), await world.user(firm, "outsider")
    here = await world.chat(firm.admin, ivan)
    there = await world.chat(ivan, firm.admin, roles=["hr"])
    third = await world.chat(firm.admin)
    await world.post(ivan, there, "было", client_message_id="same")

    named, limited, again, refused, crowd, plain = await asyncio.gather(
        world.post(ivan, here, "@ann @outsider @@lawyer @@nobody"),
        world.post(firm.admin, there, "@ivan @@hr @@lawyer", client_message_id="same"),
        world.post(ivan, there, "другое", client_message_id="same"),
        world.post(outsider, third, "@@lawyer"),
        world.post(firm.admin, third, " ".join(f"@@{code}" for code in ["lawyer"] * 20)),
        world.post(firm.admin, here, "просто"),
        return_exceptions=True,
    )

    assert isinstance(refused, chats.ChatNotFound)
    assert isinstance(named, chats.Posted)
    assert [(one.code, one.id) for one in named.mentions] == [("ann", firm.admin.id), ("lawyer", None)]
    assert named.unknown_roles == ["nobody"]
    assert [(run.role_code, run.chat_id, run.asker_id) for run in runs.among(named)] == [
        ("lawyer", here, ivan.id)
    ]
    assert isinstance(limited, chats.Posted)
    assert [(one.code, one.id) for one in limited.mentions] == [("ivan", ivan.id), ("hr", None)]
    assert limited.unknown_roles == ["lawyer"]
    assert [(run.role_code, run.asker_id) for run in runs.among(limited)] == [("hr", firm.admin.id)]
    assert isinstance(again, chats.Posted)
    assert (again.is_new, again.message.content, runs.among(again)) == (False, "было", [])
    assert isinstance(crowd, chats.Posted)
    assert [run.role_code for run in runs.among(crowd)] == ["lawyer"]
    assert isinstance(plain, chats.Posted)
    assert (plain.mentions, runs.among(plain)) == ([], [])
    assert sorted([named.message.no, plain.message.no]) == [1, 2]
    assert (limited.message.no, crowd.message.no) == (2, 1)


async def test_posts_and_answers_in_the_same_chats_never_wait_for_each_other_in_a_circle(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_ids = sorted([await world.chat(firm.admin) for _ in range(5)])
    broken: list[Exception] = []

    async def post(tx: Transaction, new: list[chats.NewMessage]) -> list[chats.Posted | Refusal]:
        try:
            return await chats.post_messages(tx, new, known_roles=SHIPPED)
        except Exception as error:
            broken.append(error)  # Done once more, one by one, a deadlock would pass for a success.
            raise

    world.posts = Together(database, post, apart=lambda new: new.chat_id)
    for chat_id in chat_ids:
        await world.ask(firm.admin, chat_id)
    claims = await world.claim()

    async with database.as_organization(firm.id) as tx:
        await chats.lock_existing(tx, [chat_ids[2]])  # Both come as far as to this one.
        ends = asyncio.create_task(world.finish(*map(completed, reversed(claims))))
        await asyncio.sleep(0.1)
        posts = [asyncio.create_task(world.post(firm.admin, one, "да?")) for one in reversed(chat_ids)]
        await asyncio.sleep(0.1)

    posted = await asyncio.gather(*posts)
    assert len(await ends) == 5
    assert [each.message.no for each in posted] == [3] * 5
    assert broken == []
