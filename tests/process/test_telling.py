"""Engines that tell people what waits for them: by Telegram and by mail, whatever is killed meanwhile."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from tests.contracts.mail_servers import Post, real_server
from tests.postal import becomes_true, eventually
from tests.process.conftest import StartEngine
from tests.process.engine import Person, register
from tests.process.model import PlannedModel, slowly
from tests.telegram_api import TOKEN, BotApi, answered, bot_api, heard

pytestmark = pytest.mark.timeout(180)  # Three engines start in one of them, on a machine that may be busy.


def means(smtp_port: int, api: BotApi) -> dict[str, str]:
    """Return the settings of an engine with a mail server and a bot."""
    return {
        "RUGPT_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}?tls=none",
        "RUGPT_MAIL_FROM": "RuGPT <rugpt@example.com>",
        "RUGPT_TELEGRAM_TOKEN": TOKEN,
        "RUGPT_TELEGRAM_API_URL": api.url,
        "RUGPT_PUBLIC_URL": "https://rugpt.example",
    }


async def channel_of(person: Person, kind: str) -> str:
    page = await person.call("GET", "/notifications/channels")
    return next(str(item["id"]) for item in page["items"] if item["kind"] == kind)


async def test_an_approver_hears_of_a_draft_by_telegram_and_by_mail_and_signs_it_by_a_button(
    start_engine: StartEngine, model: PlannedModel
) -> None:
    model.script = slowly(words=5, gap_seconds=0.02)
    post = Post()
    async with real_server(post) as smtp_port, bot_api() as api:
        first = await start_engine(**means(smtp_port, api))
        second = await start_engine(**means(smtp_port, api))
        ann = await register(first.port)
        boris = await ann.hire("boris")
        for kind in ("in_app", "email"):  # Mail at once, not only when nobody reads it elsewhere.
            channel_id = await channel_of(ann, kind)
            await ann.call("PATCH", f"/notifications/channels/{channel_id}", {"patience_seconds": 0})
        added = await ann.at(second).call("POST", "/notifications/channels", {"kind": "telegram"}, expect=201)
        user = api.user(501)
        user.write(f"/start {added['binding']['code']}")
        await heard(user, lambda sent: sent.text.startswith("Готово"))

        chat_id = await boris.open_chat()
        await boris.at(second).post(chat_id, "@@lawyer Что со сроком?")
        message = await heard(user, lambda sent: bool(sent.buttons), seconds=30)
        await eventually(lambda: bool(post.envelopes), seconds=30)
        said = await answered(api, user.press(message.buttons["✅ Утвердить"], message), seconds=30)

        answers = [one for one in (await boris.messages(chat_id)).values() if one["role"]]

    assert said == "Утверждено."
    assert [one["validation"]["status"] for one in answers] == ["approved"]
    assert answers[0]["validation"]["decided_by"] == ann.id
    letter = post.letters()[0]
    assert letter["To"] == "ann@example.com"
    assert "Черновик @@lawyer" in letter["Subject"]
    assert answers[0]["content"].split()[0] in message.text
    assert (first.faults, second.faults) == ([], [])


async def test_letters_survive_kill_9_and_only_those_on_their_way_may_come_twice(
    start_engine: StartEngine, database_url: str
) -> None:
    letters = 40
    post = SlowPost()
    async with real_server(post) as smtp_port, bot_api() as api:
        settings = {"RUGPT_SMTP_URL": means(smtp_port, api)["RUGPT_SMTP_URL"]}
        engine = await start_engine(**settings)
        ann = await register(engine.port)
        channel_id = await channel_of(ann, "email")
        for _ in range(letters):
            await ann.call("POST", f"/notifications/channels/{channel_id}/test", expect=202)
        for kills in range(3):
            # Lost three times, a letter would be given up. What was lost once comes first after a start.
            enough = (
                f"SELECT count(*) FILTER (WHERE status = 'sent') >= {8 * (kills + 1)} AND bool_and("
                "status = 'sent' OR attempts < 2 AND coalesce(lease_until > now(), true)) FROM deliveries"
            )
            await becomes_true(database_url, enough, seconds=30)
            await engine.kill()
            await end_leases(database_url)  # So much time passes.
            engine = await start_engine(**settings)
        await becomes_true(
            database_url, "SELECT count(*) = 40 FROM deliveries WHERE status = 'sent'", seconds=40
        )

    owner = await asyncpg.connect(database_url)
    unknowns = await owner.fetchval("SELECT sum(unknowns) FROM deliveries")
    rows = await owner.fetch("SELECT outcome, count(*) AS number FROM delivery_attempts GROUP BY outcome")
    logged = {row["outcome"]: row["number"] for row in rows}
    await owner.close()
    arrived = Counter(letter["Message-ID"] for letter in post.letters())
    assert len(arrived) == letters
    assert arrived.total() - letters <= unknowns
    assert unknowns <= 3 * 8  # What was on its way when it was killed.
    assert logged == {"sent": letters, **({"unknown": unknowns} if unknowns else {})}
    assert engine.faults == []


class SlowPost(Post):
    """Takes its time for each letter."""

    async def handle_DATA(self, *arguments: object) -> str:  # noqa: N802
        await asyncio.sleep(0.2)
        return await super().handle_DATA(*arguments)  # type: ignore[arg-type]


async def end_leases(owner_url: str) -> None:
    """End the leases of an engine that was killed, once the database has done what that one said last."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await becomes_true(owner_url, f"SELECT NOT EXISTS (SELECT {others} AND backend_type = 'client backend')")
    owner = await asyncpg.connect(owner_url)
    await owner.execute("UPDATE deliveries SET lease_until = now() WHERE status = 'sending'")
    await owner.close()
