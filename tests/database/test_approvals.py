"""Signing drafts: by whom the role lets, once, with a trace; what is rejected is gone for the others."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.database import Database
from engine.domains import approvals, chats
from engine.domains.approvals import Draft, Verdict
from engine.domains.approvals.errors import AlreadyValidated, DraftNotFound, EditNeedsText, NotAnApprover
from tests.world import Person, World

SIGNED = {Verdict.APPROVE: "approved", Verdict.EDIT: "edited", Verdict.REJECT: "rejected"}
CONTENT = {Verdict.APPROVE: None, Verdict.EDIT: "Нельзя.", Verdict.REJECT: None}


async def decide(
    database: Database, person: Person, message_id: UUID, verdict: Verdict, **more: str | None
) -> Draft:
    more.setdefault("content", CONTENT[verdict])
    async with database.as_organization(person.org_id) as tx:
        return await approvals.decide(tx, person.actor, message_id=message_id, verdict=verdict, **more)


async def audited(owner_url: str, message_id: UUID) -> list[tuple[str, UUID]]:
    connection = await asyncpg.connect(owner_url)
    rows = await connection.fetch(
        "SELECT action, actor_id FROM audit_log WHERE subject_id = $1 ORDER BY id", message_id
    )
    await connection.close()
    return [(row["action"], row["actor_id"]) for row in rows]


async def text_of(database: Database, person: Person, message_id: UUID) -> chats.Message:
    async with database.as_organization(person.org_id) as tx:
        return (await chats.messages_by_ids(tx, [message_id]))[message_id]


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_a_verdict_is_kept_with_both_texts_who_when_and_an_audit_row(
    world: World, database: Database, database_url: str, verdict: Verdict
) -> None:
    firm = await world.organization()
    message_id = await world.draft(firm.admin, await world.chat(firm.admin), "Можно.")

    draft = await decide(database, firm.admin, message_id, verdict, comment="проверено")

    assert (draft.status, draft.decided_by, draft.comment) == (SIGNED[verdict], firm.admin.id, "проверено")
    assert draft.decided_at is not None
    edited = ("Можно.", "Нельзя.") if verdict is Verdict.EDIT else (None, None)
    assert (draft.original, draft.edited) == edited
    message = await text_of(database, firm.admin, message_id)
    assert message.content == ("Нельзя." if verdict is Verdict.EDIT else "Можно.")
    assert (message.withdrawn_at is not None) == (verdict is Verdict.REJECT)
    assert await audited(database_url, message_id) == [(f"draft.{SIGNED[verdict]}", firm.admin.id)]


POLICIES = [
    (("asker",), {"asker"}),
    (("admins",), {"admin", "admin outside"}),
    (("asker", "admins"), {"asker", "admin", "admin outside"}),
    (("members",), {"asker", "member", "boss", "admin"}),
    (("boss",), {"boss"}),
    (("boss", "asker"), {"boss", "asker"}),
    (("nobody",), set()),
    (("outsider",), {"outsider"}),
    (("Boss",), {"boss"}),
]


@pytest.mark.parametrize(("approvers", "signers"), POLICIES)
async def test_a_draft_is_signed_by_those_whom_its_role_names_and_by_nobody_else(
    world: World, database: Database, approvers: tuple[str, ...], signers: set[str]
) -> None:
    firm = await world.organization()
    people = {
        "asker": await world.user(firm, "anna"),
        "member": await world.user(firm, "mike"),
        "boss": await world.user(firm, "boss"),
        "admin": firm.admin,
        "admin outside": await world.user(firm, "away", role="admin"),
        "outsider": await world.user(firm, "outsider"),
    }
    members = [people[name] for name in ("asker", "member", "boss", "admin")]
    chat_id = await world.chat(*members)
    in_chat = {"asker", "member", "boss", "admin"}

    for name, person in people.items():
        message_id = await world.draft(people["asker"], chat_id, approvers=approvers)
        if name in signers:
            assert (await decide(database, person, message_id, Verdict.APPROVE)).decided_by == person.id
        else:
            with pytest.raises(NotAnApprover if name in in_chat else DraftNotFound):
                await decide(database, person, message_id, Verdict.APPROVE)
            with pytest.raises(NotAnApprover if name in in_chat else DraftNotFound):
                await decide(database, person, message_id, Verdict.REJECT)


@pytest.mark.parametrize("word", ["asker", "admins", "members"])
async def test_a_person_whose_name_is_a_policys_word_signs_no_more_than_others(
    world: World, database: Database, database_url: str, word: str
) -> None:
    firm = await world.organization()
    asker, sly, third = [await world.user(firm) for _ in range(3)]
    owner = await asyncpg.connect(database_url)  # New people cannot be called so; old ones may be.
    await owner.execute("UPDATE users SET username = $1 WHERE id = $2", word, sly.id)
    await owner.close()
    chat_id = await world.chat(asker, third)
    message_id = await world.draft(asker, chat_id, approvers=[word])

    with pytest.raises(DraftNotFound):
        await decide(database, sly, message_id, Verdict.APPROVE)
    async with database.as_organization(firm.id) as tx:
        assert await approvals.list_drafts(tx, sly.actor, status=None, before=None, limit=10) == []


async def test_a_message_without_a_draft_cannot_be_signed(world: World, database: Database) -> None:
    firm = await world.organization()
    message = (await world.post(firm.admin, await world.chat(firm.admin), "от человека")).message

    for message_id in (message.id, uuid4()):
        with pytest.raises(DraftNotFound):
            await decide(database, firm.admin, message_id, Verdict.APPROVE)


@pytest.mark.parametrize("content", [None, "", "  \n\t"])
async def test_an_edit_needs_a_text(world: World, database: Database, content: str | None) -> None:
    firm = await world.organization()
    message_id = await world.draft(firm.admin, await world.chat(firm.admin))

    with pytest.raises(EditNeedsText):
        await decide(database, firm.admin, message_id, Verdict.EDIT, content=content)

    assert (await decide(database, firm.admin, message_id, Verdict.APPROVE)).status == "approved"


async def test_of_thirty_verdicts_at_once_one_wins_and_the_others_learn_of_it(
    world: World, database: Database, database_url: str
) -> None:
    firm = await world.organization()
    people = [firm.admin, *[await world.user(firm, role="admin") for _ in range(4)]]
    message_id = await world.draft(firm.admin, await world.chat(*people), "Можно.")
    verdicts = list(Verdict)

    outcomes = await asyncio.gather(
        *(
            decide(database, people[n % 5], message_id, verdicts[n % 3], content=f"Текст {n}")
            for n in range(30)
        ),
        return_exceptions=True,
    )

    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Draft)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, AlreadyValidated)]
    assert len(lost) == 29
    assert won.decided_at is not None
    assert {(each.details["status_now"], each.details["decided_by"]) for each in lost} == {
        (won.status, str(won.decided_by))
    }
    assert len(await audited(database_url, message_id)) == 1
    message = await text_of(database, firm.admin, message_id)
    assert message.content == (won.edited if won.status == "edited" else "Можно.")
    assert (message.withdrawn_at is not None) == (won.status == "rejected")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["anna", "mike", "ann", "away"]),
            st.sampled_from(list(Verdict)),
            st.sampled_from(["Новый текст", "", None]),
        ),
        max_size=6,
    )
)
async def test_whatever_people_try_a_draft_has_at_most_one_verdict_of_somebody_who_may(
    world: World, database: Database, database_url: str, acts: list[tuple[str, Verdict, str | None]]
) -> None:
    firm = await world.organization()
    anna, mike = await world.user(firm, "anna"), await world.user(firm, "mike")
    away = await world.user(firm, "away")
    people = {"anna": anna, "mike": mike, "ann": firm.admin, "away": away}
    message_id = await world.draft(anna, await world.chat(anna, mike), "Можно.")
    expected = "draft"

    for name, verdict, content in acts:
        person = people[name]
        if name == "away":
            refusal: type[Exception] | None = DraftNotFound
        elif name == "mike":
            refusal = NotAnApprover
        elif verdict is Verdict.EDIT and not content:
            refusal = EditNeedsText
        else:
            refusal = None if expected == "draft" else AlreadyValidated
        if refusal is not None:
            with pytest.raises(refusal):
                await decide(database, person, message_id, verdict, content=content)
        else:
            expected = (await decide(database, person, message_id, verdict, content=content)).status
            assert expected == SIGNED[verdict]

    async with database.as_organization(firm.id) as tx:
        draft = (await approvals.drafts_of(tx, [message_id]))[message_id]
    assert draft.status == expected
    assert len(await audited(database_url, message_id)) == (expected != "draft")


async def test_a_rejected_answer_is_not_read_or_found_by_roles(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    message_id = await world.draft(firm.admin, chat_id, "Отклонённая мысль.")
    kept_id = await world.draft(firm.admin, chat_id, "Одобренная мысль.")
    await decide(database, firm.admin, message_id, Verdict.REJECT)
    await decide(database, firm.admin, kept_id, Verdict.APPROVE)
    question = (await world.post(firm.admin, chat_id, "@@hr, что было?")).message

    async with database.as_organization(firm.id) as tx:
        read = (await chats.conversations(tx, [question.id]))[question.id].lines
        found = await chats.search_messages(tx, chat_id=chat_id, query="мысль", limit=10)

    assert "Одобренная мысль." in [line.content for line in read]
    assert "Отклонённая мысль." not in [line.content for line in read]
    assert [line.content for line in found] == ["Одобренная мысль."]


async def test_roles_read_the_edited_text_and_not_the_original(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    message_id = await world.draft(firm.admin, chat_id, "Исходная мысль.")
    await decide(database, firm.admin, message_id, Verdict.EDIT, content="Правленая мысль.")

    async with database.as_organization(firm.id) as tx:
        found = await chats.search_messages(tx, chat_id=chat_id, query="мысль", limit=10)

    assert [line.content for line in found] == ["Правленая мысль."]


async def test_drafts_are_listed_to_those_who_may_sign_them_newest_first_and_page_by_page(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    anna, mike = await world.user(firm, "anna"), await world.user(firm, "mike")
    chat_id = await world.chat(anna, mike)
    drafts = [await world.draft(anna, chat_id, f"{n}") for n in range(5)]
    by_members = await world.draft(mike, chat_id, approvers=["members"])
    by_name = await world.draft(mike, chat_id, approvers=["boss"])
    boss = await world.user(firm, "boss")
    await decide(database, anna, drafts[0], Verdict.REJECT)

    async def listed(person: Person, status: approvals.DraftStatus | None, limit: int = 50) -> list[UUID]:
        found: list[UUID] = []
        before = None
        async with database.as_organization(firm.id) as tx:
            while page := await approvals.list_drafts(
                tx, person.actor, status=status, before=before, limit=limit
            ):
                found += [draft.message_id for draft in page]
                before = (page[-1].opened_at, page[-1].message_id)
        return found

    newest_first = drafts[:0:-1]
    assert await listed(anna, "draft", 2) == await listed(anna, "draft") == [by_members, *newest_first]
    assert await listed(anna, None, 3) == [by_members, *drafts[::-1]]
    assert await listed(anna, "rejected") == await listed(firm.admin, "rejected") == [drafts[0]]
    assert await listed(mike, "draft") == [by_members]
    assert await listed(firm.admin, "draft", 1) == newest_first
    assert await listed(boss, "draft") == [by_name]


async def test_who_asked_signs_only_while_in_the_chat(world: World, database: Database) -> None:
    firm = await world.organization()
    anna = await world.user(firm, "anna")
    chat_id = await world.chat(firm.admin, anna)
    message_id = await world.draft(anna, chat_id, approvers=["asker"])
    async with database.as_organization(firm.id) as tx:
        (listed,) = await approvals.list_drafts(tx, anna.actor, status=None, before=None, limit=10)
        await chats.remove_member(tx, firm.admin.actor, chat_id=chat_id, user_id=anna.id)
    assert listed.message_id == message_id

    async with database.as_organization(firm.id) as tx:
        assert await approvals.list_drafts(tx, anna.actor, status=None, before=None, limit=10) == []
    with pytest.raises(DraftNotFound):
        await decide(database, anna, message_id, Verdict.APPROVE)

    async with database.as_organization(firm.id) as tx:
        await chats.add_members(tx, firm.admin.actor, chat_id=chat_id, members=[anna.id])
    assert (await decide(database, anna, message_id, Verdict.APPROVE)).status == "approved"


@pytest.mark.parametrize("policy", ["asker", "members", "admins", "ann", "boss"])
async def test_drafts_of_a_deleted_chat_are_nobodys(world: World, database: Database, policy: str) -> None:
    firm = await world.organization()
    boss = await world.user(firm, "boss")
    chat_id, other_id = await world.chat(firm.admin), await world.chat(firm.admin)
    gone = [await world.draft(firm.admin, chat_id, approvers=[policy]) for _ in range(2)]
    left = await world.draft(firm.admin, other_id, approvers=[policy])
    signer = boss if policy == "boss" else firm.admin
    await decide(database, signer, gone[0], Verdict.REJECT)
    async with database.as_organization(firm.id) as tx:
        await chats.delete_chat(tx, firm.admin.actor, chat_id=chat_id)

    async with database.as_organization(firm.id) as tx:
        listed = await approvals.list_drafts(tx, signer.actor, status=None, before=None, limit=10)
        for message_id in gone:
            with pytest.raises(DraftNotFound):
                await approvals.get_draft(tx, signer.actor, message_id=message_id)
    assert [draft.message_id for draft in listed] == [left]
    with pytest.raises(DraftNotFound):
        await decide(database, signer, gone[1], Verdict.APPROVE)
