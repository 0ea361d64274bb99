"""Telegram: a chat is bound by a code, a draft is signed by its buttons, and only by its owner's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest

from engine.adapters.telegram import Pace, TelegramBot, TelegramTokenInvalid
from engine.core.database import Database
from engine.domains import chats, notifications
from engine.domains.notifications import ChannelChanges, Office, OutboxFilled
from engine.postman import Postman, Telegraph
from tests.postal import SEAL, becomes_true, eventually, hurry
from tests.telegram_api import TOKEN, BotApi, Refused, Sent, TelegramUser, answered, bot_api, heard
from tests.world import Firm, Person, World


@pytest.fixture
async def api() -> AsyncIterator[BotApi]:
    async with bot_api() as running:
        yield running


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


def an_office() -> Office:
    return Office(SEAL, frozenset({"in_app", "telegram"}), "https://rugpt.example", telegram_token=TOKEN)


@asynccontextmanager
async def telegraph(
    database: Database, api: BotApi, *, is_called: bool = False, renew_seconds: float = 0.05
) -> AsyncIterator[Office]:
    """Let one engine's postman and telegraph work."""
    office = an_office()
    bot = TelegramBot(TOKEN, api_url=api.url, pace=Pace())
    working = Telegraph(
        database, office, bot, is_called=is_called, lease_seconds=1, renew_seconds=renew_seconds
    )
    tasks = [
        asyncio.create_task(Postman(database, office, []).run()),
        asyncio.create_task(working.run()),
    ]
    try:
        yield office
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask_code(database: Database, person: Person) -> tuple[str, UUID]:
    """Let a person ask for a code for Telegram; return it and the channel's id."""
    async with database.as_organization(person.org_id) as tx:
        added = await notifications.add_channel(tx, person.actor, office=an_office(), kind="telegram")
    assert added.code is not None
    return added.code, added.channel.id


async def bind(database: Database, api: BotApi, person: Person, number: int) -> TelegramUser:
    """Bind a person's Telegram."""
    code, _ = await ask_code(database, person)
    user = api.user(number)
    user.write(f"/start {code}")
    await heard(user, lambda sent: sent.text.startswith("Готово"))
    return user


@dataclass
class Asked:
    """A draft, who may sign it, and its message in their Telegram."""

    draft_id: UUID
    chat_id: UUID
    user: TelegramUser
    message: Sent

    def press(self, verdict: str) -> str:
        return self.user.press(self.message.buttons[verdict], self.message)


APPROVE, EDIT, REJECT = "✅ Утвердить", "✏️ Изменить", "❌ Отклонить"


async def a_draft(
    world: World, database: Database, api: BotApi, firm: Firm, text: str = "Можно, **но** не сразу."
) -> Asked:
    """Let a draft wait for the admin, who has Telegram."""
    ivan = await world.user(firm, "ivan")
    user = await bind(database, api, firm.admin, 501)
    chat_id = await world.chat(ivan)
    draft_id = await world.draft(ivan, chat_id, text, approvers=["admins"])
    message = await heard(user, lambda sent: bool(sent.buttons))
    return Asked(draft_id, chat_id, user, message)


async def text_of(database: Database, firm: Firm, message_id: UUID) -> chats.Message:
    async with database.as_organization(firm.id) as tx:
        return (await chats.messages_by_ids(tx, [message_id]))[message_id]


async def status_of(owner_url: str, draft_id: UUID) -> tuple[str, UUID | None]:
    owner = await asyncpg.connect(owner_url)
    row = await owner.fetchrow("SELECT status, decided_by FROM drafts WHERE message_id = $1", draft_id)
    await owner.close()
    assert row is not None
    return row["status"], row["decided_by"]


async def test_a_code_binds_a_chat_once_and_in_time(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    code, channel_id = await ask_code(database, firm.admin)
    old, _ = await ask_code(database, firm.admin)
    owner = await asyncpg.connect(database_url)
    assert code.encode() not in str(await owner.fetch("SELECT * FROM notification_channels")).encode()
    await owner.execute(
        "UPDATE notification_channels SET code_expires_at = now() WHERE id <> $1 AND kind = 'telegram'",
        channel_id,
    )
    await owner.close()
    ann, boris = api.user(501), api.user(502, "en")

    async with telegraph(database, api) as office:
        ann.write(f"/start {old}")
        await heard(ann, lambda sent: sent.text.startswith("Код не подходит"))
        ann.write(f"/start {code}")
        await heard(ann, lambda sent: sent.text.startswith("Готово"))
        boris.write(f"/start {code}")
        await heard(boris, lambda sent: sent.text.startswith("This code does not fit"))
        other, _ = await ask_code(database, await world.user(firm, "ivan"))
        ann.write(f"/start {other}")
        await heard(ann, lambda sent: sent.text.startswith("Этот чат уже связан"))
        assert office.bot_name == "rugpt_bot"

    async with database.as_organization(firm.id) as tx:
        hers = await notifications.list_channels(tx, firm.admin.actor)
    assert [each.id for each in hers if each.address == "501"] == [channel_id]


async def test_an_approver_signs_by_a_button(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    async with telegraph(database, api):
        asked = await a_draft(world, database, api, firm)
        assert asked.message.text.startswith("Черновик @@lawyer ждёт вашей подписи в чате «Кадры»")
        assert "Можно, но не сразу." in asked.message.text
        assert list(asked.message.buttons) == [APPROVE, EDIT, REJECT]

        assert await answered(api, asked.press(APPROVE)) == "Утверждено."

        assert await status_of(database_url, asked.draft_id) == ("approved", firm.admin.id)
        await becomes_true(database_url, "SELECT read_at IS NOT NULL FROM notifications")
        buttons = dict(asked.message.buttons)
        await eventually(lambda: not asked.message.buttons)
        again = asked.user.press(buttons[REJECT], asked.message)
        assert await answered(api, again) == "По этому черновику уже есть решение."
    assert (await status_of(database_url, asked.draft_id))[0] == "approved"


async def test_an_approver_rejects_by_a_button(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    async with telegraph(database, api):
        asked = await a_draft(world, database, api, firm)
        assert await answered(api, asked.press(REJECT)) == "Отклонено."

    assert await status_of(database_url, asked.draft_id) == ("rejected", firm.admin.id)
    assert (await text_of(database, firm, asked.draft_id)).withdrawn_at is not None


async def test_an_approver_corrects_a_draft_by_a_reply(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    async with telegraph(database, api):
        asked = await a_draft(world, database, api, firm)
        asked.press(EDIT)
        question = await heard(asked.user, lambda sent: bool((sent.markup or {}).get("force_reply")))
        asked.user.write("Нельзя.", reply_to=question.number)
        await heard(asked.user, lambda sent: sent.text == "Исправлено и утверждено.")
        asked.user.write("Передумал.", reply_to=question.number)
        await heard(asked.user, lambda sent: sent.text == "По этому черновику уже есть решение.")

    assert await status_of(database_url, asked.draft_id) == ("edited", firm.admin.id)
    assert (await text_of(database, firm, asked.draft_id)).content == "Нельзя."


async def test_a_button_of_another_person_or_of_a_forwarded_message_does_nothing_but_say_so(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    async with telegraph(database, api):
        asked = await a_draft(world, database, api, firm)
        data = asked.message.buttons[APPROVE]
        masha = await bind(database, api, await world.user(firm, "masha"), 502)
        stranger = api.user(666, "en")
        presses = [
            masha.press(data, asked.message, chat_id=502),  # it was forwarded to her
            masha.press(data, asked.message),  # and this says it is hers
            stranger.press(data, asked.message, chat_id=666),
            asked.user.press(data, asked.message, number=asked.message.number + 1),  # under another message
            asked.user.press(data, asked.message, chat_id=-100500),  # in a group
            asked.user.press("approve:AAAA", asked.message),
            asked.user.press("approve:" + "A" * 22, asked.message),
            asked.user.press("sign:" + data.partition(":")[2], asked.message),
            asked.user.press("x", asked.message),
        ]
        said = [await answered(api, press) for press in presses]

    assert said == ["Эта кнопка не ваша."] * 2 + ["This button is not yours."] + ["Эта кнопка не ваша."] * 6
    assert await status_of(database_url, asked.draft_id) == ("draft", None)


async def test_who_presses_before_the_message_is_known_to_have_arrived_is_heard_in_a_moment(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    async with telegraph(database, api):
        asked = await a_draft(world, database, api, firm)
        await becomes_true(database_url, "SELECT status = 'sent' FROM deliveries")
        owner = await asyncpg.connect(database_url)
        await owner.execute(
            "UPDATE deliveries SET status = 'sending', lease_until = now() + interval '1 minute'"
        )
        press = asked.press(APPROVE)
        await becomes_true(database_url, "SELECT tries > 0 FROM telegram_updates WHERE done_at IS NULL")
        assert api.presses[press] is None
        await owner.execute("UPDATE deliveries SET status = 'sent'")
        await owner.close()

        assert await answered(api, press) == "Утверждено."


async def test_who_may_not_sign_any_more_is_told_so(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    ivan = await world.user(firm, "ivan")
    async with telegraph(database, api):
        user = await bind(database, api, ivan, 501)
        chat_id = await world.chat(firm.admin, ivan)
        draft_id = await world.draft(ivan, chat_id, approvers=["asker"])
        message = await heard(user, lambda sent: bool(sent.buttons))
        async with database.as_organization(firm.id) as tx:
            await chats.remove_member(tx, firm.admin.actor, chat_id=chat_id, user_id=ivan.id)

        said = await answered(api, user.press(message.buttons[APPROVE], message))

    assert said == "Этого черновика больше нет."
    assert (await status_of(database_url, draft_id))[0] == "draft"


async def test_a_long_answer_comes_in_pieces_with_the_buttons_under_the_last(
    world: World, database: Database, api: BotApi, firm: Firm
) -> None:
    text = "\n\n".join(f"**Пункт {number}.** " + "слово " * 100 for number in range(14))
    async with telegraph(database, api):
        asked = await a_draft(world, database, api, firm, text)

        pieces = [sent for sent in asked.user.heard() if "Пункт" in sent.text]
    assert len(pieces) == 3
    assert [bool(piece.buttons) for piece in pieces] == [False, False, True]
    assert "".join(piece.text for piece in pieces).count("Пункт") == 14
    assert all(later.at - earlier.at >= 0.95 for earlier, later in pairwise(pieces))


async def test_retry_after_stops_everything_to_that_chat_and_nothing_else(
    world: World, database: Database, api: BotApi, firm: Firm
) -> None:
    ivan = await world.user(firm, "ivan")
    async with telegraph(database, api):
        annas, his = await bind(database, api, firm.admin, 501), await bind(database, api, ivan, 502)
        chat_id = await world.chat(firm.admin, ivan)
        api.refusals.append(Refused(429, "Too Many Requests: retry after 2", retry_after=2))
        for number in range(3):
            await world.post(ivan, chat_id, f"@ann, {number}")
        await asyncio.sleep(0.5)
        await world.post(firm.admin, chat_id, "@ivan, сразу")
        quick = await heard(his, lambda sent: "сразу" in sent.text)
        await eventually(lambda: sum("@ann" in sent.text for sent in annas.heard()) == 3, seconds=20)

    assert all(quick.at < sent.at for sent in annas.heard() if "@ann" in sent.text)
    assert api.too_soon == 0


async def test_who_blocks_the_bot_is_told_by_other_channels_and_comes_back(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    broken = "SELECT broken_at IS NOT NULL FROM notification_channels WHERE kind = 'telegram'"
    ivan = await world.user(firm, "ivan")
    async with telegraph(database, api):
        user = await bind(database, api, ivan, 501)
        chat_id = await world.chat(firm.admin, ivan)
        api.blocked.add(user.id)
        await world.post(firm.admin, chat_id, "@ivan, ау")
        await becomes_true(database_url, broken)
        user.block(is_blocked=False)
        await becomes_true(database_url, broken.replace("NOT NULL", "NULL"))
        user.block()
        await becomes_true(database_url, broken)
        user.block(is_blocked=False)
        await becomes_true(database_url, broken.replace("NOT NULL", "NULL"))
        await world.post(firm.admin, chat_id, "@ivan, снова")
        await heard(user, lambda sent: "снова" in sent.text)
        user.write("/stop")
        await heard(user, lambda sent: sent.text.startswith("Этот чат больше не связан"))

    async with database.as_organization(firm.id) as tx:
        assert "telegram" not in [each.kind for each in await notifications.list_channels(tx, ivan.actor)]


async def test_a_lost_acknowledgement_is_counted_and_sent_again(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    ivan = await world.user(firm, "ivan")
    async with telegraph(database, api):
        user = await bind(database, api, ivan, 501)
        api.loses = 1
        await world.post(firm.admin, await world.chat(firm.admin, ivan), "@ivan, письмо")
        await becomes_true(database_url, "SELECT unknowns = 1 AND status = 'queued' FROM deliveries")
        owner = await asyncpg.connect(database_url)
        await owner.execute("UPDATE deliveries SET due_at = now()")
        await owner.close()
        database.feed.send(OutboxFilled())
        await becomes_true(database_url, "SELECT status = 'sent' FROM deliveries")

    assert sum("письмо" in sent.text for sent in user.heard()) == 2


async def test_in_a_group_the_bot_says_nothing_of_anybody(
    world: World, database: Database, api: BotApi, firm: Firm
) -> None:
    code, _ = await ask_code(database, firm.admin)
    group = {"id": -100777, "type": "supergroup", "title": "Все"}
    api.started.add(-100777)
    user = api.user(501)
    async with telegraph(database, api):
        user.write("просто так", chat=group)
        user.write(f"/start {code}", chat=group)
        said = await heard(TelegramUser(api, -100777), lambda _: True)

    assert said.text == "Напишите мне в личном чате."
    async with database.as_organization(firm.id) as tx:
        mine = await notifications.list_channels(tx, firm.admin.actor)
    assert [each.address for each in mine if each.kind == "telegram"] == [None]


async def test_of_two_processes_one_asks_and_the_other_takes_over(
    world: World, database: Database, api: BotApi, firm: Firm
) -> None:
    user = api.user(501)
    async with telegraph(database, api):
        async with telegraph(database, api):
            user.write("раз")
            await heard(user, lambda _: True)
            await asyncio.sleep(0.5)
        user.write("два")
        await eventually(lambda: len(user.heard()) == 2)
    async with telegraph(database, api):
        user.write("три")
        await eventually(lambda: len(user.heard()) == 3)

    assert len(user.heard()) == 3
    assert api.calls.count("getUpdates") > 2


async def test_what_was_told_is_stored_and_then_forgotten_but_for_its_number(
    database: Database, api: BotApi, database_url: str
) -> None:
    user = api.user(501)
    async with telegraph(database, api):
        number = user.write("тайна\x00 и половина")
        await heard(user, lambda _: True)
        is_gone = "SELECT content IS NULL AND done_at IS NOT NULL FROM telegram_updates"
        await becomes_true(database_url, f"{is_gone} WHERE update_id = {number}")


async def test_a_digest_of_many_has_no_buttons(
    world: World, database: Database, api: BotApi, firm: Firm, database_url: str
) -> None:
    ivan = await world.user(firm, "ivan")
    await hurry(database, firm.admin)
    async with telegraph(database, api):
        user = await bind(database, api, firm.admin, 501)
        chat_id = await world.chat(ivan)
        async with database.as_organization(firm.id) as tx:
            for channel in await notifications.list_channels(tx, firm.admin.actor):
                await notifications.change_channel(
                    tx, firm.admin.actor, channel_id=channel.id, changes=ChannelChanges(carries=["draft"])
                )
        for _ in range(8):
            await world.draft(ivan, chat_id, approvers=["admins"])
        await becomes_true(database_url, "SELECT count(*) = 1 FROM deliveries WHERE purpose = 'digest'")
        await becomes_true(
            database_url,
            "SELECT count(*) = 3 FROM delivery_items i JOIN deliveries d ON d.id = i.delivery_id"
            " WHERE purpose = 'digest'",
        )
        owner = await asyncpg.connect(database_url)
        await owner.execute("UPDATE deliveries SET due_at = now() WHERE purpose = 'digest'")
        await owner.close()
        database.feed.send(OutboxFilled())
        digest = await heard(user, lambda sent: sent.text.startswith("Новых уведомлений: 3"))

    assert digest.buttons == {}
    assert digest.text.count("Черновик @@lawyer") == 3


@pytest.mark.parametrize("token", ["", "abc", "123456", "123456:", ":secret", "12x:secret", "1: a", "1:a\n"])
def test_a_token_that_is_none_is_refused_at_the_start(token: str) -> None:
    with pytest.raises(TelegramTokenInvalid):
        TelegramBot(token, api_url="http://127.0.0.1:1")
