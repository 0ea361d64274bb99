"""Posting: exactly once, numbered without gaps, seen by members only, under any number of hands."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine.core.database import Database
from engine.domains import chats, organizations, runs
from engine.domains.chats.errors import (
    DirectChatIsForTwo,
    MemberNotFound,
    NotTheAuthor,
    NotTheChatOwner,
    TitleInvalid,
    TooManyMentions,
    TooManyRoles,
    UnknownRole,
)
from tests.unit.scripted_model import SHIPPED
from tests.world import ManyRoles, Person, World, completed


async def numbers(database: Database, person: Person, chat_id: UUID) -> list[int]:
    async with database.as_organization(person.org_id) as tx:
        page = await chats.history(tx, person.actor, chat_id=chat_id, before_no=None, limit=200)
    return [message.no for message in reversed(page)]


async def unread(database: Database, person: Person, chat_id: UUID) -> int:
    async with database.as_organization(person.org_id) as tx:
        return (await chats.get_chat(tx, person.actor, chat_id=chat_id)).unread


async def test_twenty_posts_of_one_message_are_one_message_and_one_run(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    text = "@@lawyer и @@hr, ау"

    for same in ("1", "2", "3"):  # At first the connections are opened one by one, and nobody meets anybody.
        posted = await asyncio.gather(
            *(world.post(firm.admin, chat_id, text, client_message_id=same) for _ in range(20))
        )

        assert len({each.message.id for each in posted}) == 1
        assert sorted(each.is_new for each in posted) == [False] * 19 + [True]
        assert all(each.mentions == posted[0].mentions for each in posted)
        assert await numbers(database, firm.admin, chat_id) == [*range(1, int(same) + 1)]
        async with database.as_organization(firm.id) as tx:
            assert len(await runs.runs_of_message(tx, posted[0].message.id)) == 2


async def test_one_client_message_id_is_one_message_per_author_and_chat(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    ivan = await world.user(firm)
    here, there = await world.chat(firm.admin, ivan), await world.chat(firm.admin, ivan)

    posted = [
        await world.post(person, chat_id, "привет", client_message_id="1")
        for person in (firm.admin, ivan)
        for chat_id in (here, there)
    ]

    assert all(each.is_new for each in posted)
    again = await world.post(ivan, there, "другое", client_message_id="1")
    assert (again.message.id, again.message.content, again.is_new) == (posted[3].message.id, "привет", False)


async def test_messages_are_numbered_without_gaps_by_people_and_roles_at_once(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    people = [firm.admin, *[await world.user(firm) for _ in range(3)]]
    chat_id = await world.chat(*people)
    await world.post(firm.admin, chat_id, "@@lawyer @@hr @@accountant @@chu @@assistant")
    claims = await world.claim()

    await asyncio.gather(
        *(world.post(person, chat_id, f"{n}") for n in range(10) for person in people),
        *(world.finish(completed(claim)) for claim in claims),
    )

    assert len(claims) == 5
    assert await numbers(database, firm.admin, chat_id) == list(range(1, 47))


async def test_a_post_that_is_rolled_back_leaves_no_gap_no_run_and_no_event(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)

    async def post_and_fail() -> None:
        async with database.as_organization(firm.id) as tx:
            await chats.post_message(
                tx, firm.admin.actor, chat_id=chat_id, content="@@lawyer", known_roles=SHIPPED
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await post_and_fail()

    assert (await world.post(firm.admin, chat_id, "снова")).message.no == 1
    assert await world.claim() == []


async def test_only_members_post_read_edit_and_mark(world: World, database: Database) -> None:
    firm = await world.organization()
    member, outsider = await world.user(firm), await world.user(firm, role="admin")
    chat_id = await world.chat(member)
    message = (await world.post(member, chat_id, "наше")).message

    with pytest.raises(chats.ChatNotFound):
        await world.post(outsider, chat_id, "@@lawyer")
    async with database.as_organization(firm.id) as tx:
        for chat_call in (
            chats.get_chat(tx, outsider.actor, chat_id=chat_id),
            chats.history(tx, outsider.actor, chat_id=chat_id, before_no=None, limit=10),
            chats.mark_read(tx, outsider.actor, chat_id=chat_id, up_to_no=None),
            chats.add_members(tx, outsider.actor, chat_id=chat_id, members=[outsider.id]),
            chats.delete_chat(tx, outsider.actor, chat_id=chat_id),
        ):
            with pytest.raises(chats.ChatNotFound):
                await chat_call
        for message_call in (
            chats.edit_message(tx, outsider.actor, message_id=message.id, content="чужое"),
            chats.delete_message(tx, outsider.actor, message_id=message.id),
        ):
            with pytest.raises(chats.MessageNotFound):
                await message_call
    assert await numbers(database, member, chat_id) == [1]


async def test_only_the_author_edits_and_deletes(world: World, database: Database) -> None:
    firm = await world.organization()
    ivan = await world.user(firm)
    chat_id = await world.chat(firm.admin, ivan)
    message = (await world.post(ivan, chat_id, "моё")).message
    answer_id = await world.draft(ivan, chat_id)

    async with database.as_organization(firm.id) as tx:
        for message_id in (message.id, answer_id):
            with pytest.raises(NotTheAuthor):
                await chats.edit_message(tx, firm.admin.actor, message_id=message_id, content="твоё")
            with pytest.raises(NotTheAuthor):
                await chats.delete_message(tx, firm.admin.actor, message_id=message_id)
        edited = await chats.edit_message(tx, ivan.actor, message_id=message.id, content="новое")
        deleted = await chats.delete_message(tx, ivan.actor, message_id=message.id)

    assert (edited.content, deleted.content, deleted.no) == ("новое", "", message.no)
    assert edited.edited_at is not None
    assert deleted.deleted_at is not None
    async with database.as_organization(firm.id) as tx:
        with pytest.raises(NotTheAuthor):
            await chats.edit_message(tx, ivan.actor, message_id=message.id, content="снова тут")


async def test_roles_that_may_not_be_called_are_ignored_and_named(world: World, database: Database) -> None:
    firm = await world.organization()
    limited = await world.chat(firm.admin, roles=["lawyer", "hr"])
    async with database.as_organization(firm.id) as tx:
        await organizations.set_role(tx, firm.admin.actor, code="hr", known=["hr"], enabled=False)

    posted = await world.post(firm.admin, limited, "@@lawyer @@hr @@accountant @@nobody @@Юрист")

    assert [(mention.kind, mention.code) for mention in posted.mentions] == [("role", "lawyer")]
    assert sorted(posted.unknown_roles) == ["accountant", "hr", "nobody"]
    assert [run.role_code for run in runs.among(posted)] == ["lawyer"]


async def test_eleven_roles_and_fifty_one_people_are_too_many(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)

    async def post(content: str) -> chats.Posted:
        async with database.as_organization(firm.id) as tx:
            return await chats.post_message(
                tx, firm.admin.actor, chat_id=chat_id, content=content, known_roles=ManyRoles()
            )

    ten = await post(" ".join(f"@@role{n}" for n in range(10)) + " @@role1 @@role2")
    assert len(runs.among(ten)) == 10
    for count in (11, 50):
        with pytest.raises(TooManyRoles):
            await post(" ".join(f"@@role{n}" for n in range(count)))
    with pytest.raises(TooManyRoles):
        await post(" ".join(f"@@role{n % 50}" for n in range(1000)))
    with pytest.raises(TooManyMentions):
        await post(" ".join(f"@user{n}" for n in range(1000)))
    assert await numbers(database, firm.admin, chat_id) == [1]


async def test_only_members_are_named_and_strangers_are_just_text(world: World, database: Database) -> None:
    ours, theirs = await world.organization("Ours"), await world.organization("Theirs", admin="stranger")
    ivan, absent = await world.user(ours, "Иван"), await world.user(ours, "absent")
    chat_id = await world.chat(ours.admin, ivan)

    posted = await world.post(ours.admin, chat_id, "@ИВАН, @иван. @absent @stranger @ann @nobody")

    assert [(mention.code, mention.id) for mention in posted.mentions] == [
        ("Иван", ivan.id),
        ("ann", ours.admin.id),
    ]
    assert (absent.id, theirs.admin.id) != (ivan.id, ivan.id)


async def test_an_answer_is_to_a_message_of_the_same_chat(world: World, database: Database) -> None:
    firm = await world.organization()
    here, there = await world.chat(firm.admin), await world.chat(firm.admin)
    message = (await world.post(firm.admin, there, "там")).message

    for reply_to in (message.id, uuid4()):
        with pytest.raises(chats.MessageNotFound):
            async with database.as_organization(firm.id) as tx:
                await chats.post_message(
                    tx,
                    firm.admin.actor,
                    chat_id=here,
                    content="тут",
                    known_roles=SHIPPED,
                    reply_to=reply_to,
                )


async def test_what_others_say_is_unread_until_it_is_marked_and_marks_never_go_back(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    ivan = await world.user(firm)
    chat_id = await world.chat(firm.admin, ivan)
    for n in range(5):
        await world.post(firm.admin, chat_id, f"{n}")

    async def mark(up_to_no: int | None) -> int:
        async with database.as_organization(firm.id) as tx:
            chat = await chats.mark_read(tx, ivan.actor, chat_id=chat_id, up_to_no=up_to_no)
        return chat.unread

    assert (await unread(database, firm.admin, chat_id), await unread(database, ivan, chat_id)) == (0, 5)
    assert [await mark(no) for no in (3, 1, 0, 2**62 - 1)] == [2, 2, 2, 0]
    await world.post(firm.admin, chat_id, "ещё")
    await asyncio.gather(*(mark(no) for no in (1, 6, 2, 3, None)))
    assert await unread(database, ivan, chat_id) == 0
    await world.draft(firm.admin, chat_id)
    assert await unread(database, ivan, chat_id) == 2
    await world.post(ivan, chat_id, "прочёл")
    assert await unread(database, ivan, chat_id) == 0


async def test_whoever_joins_later_has_nothing_unread(world: World, database: Database) -> None:
    firm = await world.organization()
    late = await world.user(firm)
    chat_id = await world.chat(firm.admin)
    await world.post(firm.admin, chat_id, "до тебя")

    async with database.as_organization(firm.id) as tx:
        await chats.add_members(tx, firm.admin.actor, chat_id=chat_id, members=[late.id, late.id])

    assert await unread(database, late, chat_id) == 0
    assert await numbers(database, late, chat_id) == [1]


async def test_a_direct_chat_is_for_two(world: World, database: Database) -> None:
    firm = await world.organization()
    ivan, olga = await world.user(firm), await world.user(firm)
    with pytest.raises(DirectChatIsForTwo):
        await world.chat(firm.admin, ivan, olga, kind="direct")
    chat_id = await world.chat(firm.admin, ivan, kind="direct")

    with pytest.raises(DirectChatIsForTwo):
        async with database.as_organization(firm.id) as tx:
            await chats.add_members(tx, firm.admin.actor, chat_id=chat_id, members=[olga.id])


async def test_only_active_people_of_the_organization_and_known_roles_are_let_in(
    world: World, database: Database
) -> None:
    ours, theirs = await world.organization("Ours"), await world.organization("Theirs")
    for stranger in (theirs.admin.id, uuid4()):
        with pytest.raises(MemberNotFound):
            async with database.as_organization(ours.id) as tx:
                await chats.create_chat(
                    tx,
                    ours.admin.actor,
                    title="Чат",
                    kind="group",
                    members=[stranger],
                    roles=[],
                    known_roles=SHIPPED,
                )
    with pytest.raises(UnknownRole):
        await world.chat(ours.admin, roles=["wizard"])


async def test_only_the_owner_or_an_administrator_in_the_chat_changes_it(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    owner, member = await world.user(firm), await world.user(firm)
    chat_id = await world.chat(owner, member, firm.admin)

    async with database.as_organization(firm.id) as tx:
        for call in (
            chats.change_chat(tx, member.actor, chat_id=chat_id, title="моё", known_roles=SHIPPED),
            chats.delete_chat(tx, member.actor, chat_id=chat_id),
            chats.remove_member(tx, member.actor, chat_id=chat_id, user_id=owner.id),
        ):
            with pytest.raises(NotTheChatOwner):
                await call
        changed = await chats.change_chat(
            tx, firm.admin.actor, chat_id=chat_id, roles=["hr", "hr"], known_roles=SHIPPED
        )
        left = await chats.remove_member(tx, member.actor, chat_id=chat_id, user_id=member.id)
        await chats.delete_chat(tx, owner.actor, chat_id=chat_id)
        with pytest.raises(chats.ChatNotFound):
            await chats.get_chat(tx, owner.actor, chat_id=chat_id)

    assert (changed.title, changed.roles, left) == ("Кадры", ["hr"], None)


async def test_a_search_finds_word_forms_and_parts_but_nothing_deleted_or_of_other_chats(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id, other = await world.chat(firm.admin), await world.chat(firm.admin)
    await world.post(firm.admin, chat_id, "Заключили договор поставки №17-Б")
    gone = (await world.post(firm.admin, chat_id, "договор удалён")).message
    await world.post(firm.admin, other, "договор чужого чата")
    async with database.as_organization(firm.id) as tx:
        await chats.delete_message(tx, firm.admin.actor, message_id=gone.id)

    async with database.as_organization(firm.id) as tx:
        found = {
            query: [
                line.no for line in await chats.search_messages(tx, chat_id=chat_id, query=query, limit=5)
            ]
            for query in ("договоры", "17-б", "поставка", "аренда", "'\"%_\\ & | ! ( :*", "-договор", "\\")
        }

    assert found["договоры"] == found["17-б"] == found["поставка"] == [1]
    assert found["аренда"] == []


async def test_a_search_reads_no_further_back_than_its_bound(
    world: World, database: Database, database_url: str
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    await world.post(firm.admin, chat_id, "договор в начале")
    await world.post(firm.admin, chat_id, "договор позже")
    owner = await asyncpg.connect(database_url)
    await owner.execute(  # 62 messages of 64,000 bytes fit into the bound of 4,000,000; 63 do not.
        "INSERT INTO messages (org_id, chat_id, no, author_id, content)"
        " SELECT $1, $2, 2 + n, $3, repeat('я', 32000) FROM generate_series(1, 62) n",
        firm.id, chat_id, firm.admin.id,
    )  # fmt: skip
    await owner.execute("UPDATE chats SET last_message_no = 64 WHERE id = $1", chat_id)

    async def found() -> list[int]:
        async with database.as_organization(firm.id) as tx:
            return [
                line.no
                for line in await chats.search_messages(tx, chat_id=chat_id, query="договоры", limit=5)
            ]

    within = await found()
    await owner.execute(
        "INSERT INTO messages (org_id, chat_id, no, author_id, content)"
        " VALUES ($1, $2, 65, $3, repeat('я', 32000))",
        firm.id, chat_id, firm.admin.id,
    )  # fmt: skip
    await owner.execute("UPDATE chats SET last_message_no = 65 WHERE id = $1", chat_id)
    beyond = await found()
    await owner.close()

    assert (within, beyond) == ([2, 1], [])


async def test_a_title_is_one_line(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    actor = firm.admin.actor

    async with database.as_organization(firm.id) as tx:
        changed = await chats.change_chat(
            tx, actor, chat_id=chat_id, title=" Кадры\r\n\tи\u2028право ", known_roles=SHIPPED
        )
        for bad in ("", " \n ", "a\x00b", "a\x1bb", "a\u202eb", "x" * 201):
            with pytest.raises(TitleInvalid):
                await chats.change_chat(tx, actor, chat_id=chat_id, title=bad, known_roles=SHIPPED)

    assert changed.title == "Кадры и право"
