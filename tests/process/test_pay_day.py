"""The proactive half, whole: an event fires, its role writes with a real model, and a button signs it."""

import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from tests.contracts.mail_servers import Post, real_server
from tests.postal import eventually
from tests.process.conftest import Follow
from tests.process.engine import SECRET, EngineProcess, register, running
from tests.process.test_main_job import LOCAL, weights_folder
from tests.process.test_telling import channel_of, means
from tests.telegram_api import answered, bot_api, heard

AHEAD = timedelta(seconds=3)


@pytest.mark.model
@pytest.mark.timeout(400)
async def test_an_event_fires_once_and_the_draft_it_leads_to_is_signed_in_telegram(
    follow: Follow, database_url: str, application_url: str
) -> None:
    post = Post()
    async with AsyncExitStack() as open_things:
        folder = Path(open_things.enter_context(tempfile.TemporaryDirectory(prefix="rugpt-process-")))
        smtp_port = await open_things.enter_async_context(real_server(post))
        api = await open_things.enter_async_context(bot_api())
        weights_folder().mkdir(parents=True, exist_ok=True)
        settings = {
            **LOCAL,
            "RUGPT_MODEL_ANSWER_TOKENS": "25",
            **means(smtp_port, api),
            "RUGPT_DATABASE_URL": application_url,
            "RUGPT_DATABASE_OWNER_URL": database_url,
            "RUGPT_SECRET_KEY": SECRET,
        }
        engines: list[EngineProcess] = []
        for name in ("first", "second"):
            data = folder / name
            data.mkdir()
            (data / "models").symlink_to(weights_folder())  # Fetched once, wherever it is missing.
            engines.append(await open_things.enter_async_context(running(data, settings, "--tiny")))
        first, second = engines
        ann = await register(first.port)
        boris = await ann.hire("boris")
        for kind in ("in_app", "email"):  # Mail at once, not only when nobody reads it elsewhere.
            path = f"/notifications/channels/{await channel_of(ann, kind)}"
            await ann.call("PATCH", path, {"patience_seconds": 0})
        added = await ann.call("POST", "/notifications/channels", {"kind": "telegram"}, expect=201)
        user = api.user(501)
        user.write(f"/start {added['binding']['code']}")
        await heard(user, lambda sent: sent.text.startswith("Готово"))
        chat_id = await boris.open_chat(ann)
        follower = await follow(boris.at(second), chat_id)

        due = datetime.now(UTC) + AHEAD
        plan = {
            "title": "Сверить зарплату",
            "kind": "one_time",
            "starts_at": due.isoformat(),
            "timezone": "Europe/Moscow",
            "chat_id": chat_id,
            "role": "accountant",
            "instruction": "Сверь начисления за месяц. Кратко.",
            "notify": [ann.id],
        }
        event = await boris.call("POST", "/calendar/events", plan, expect=201)
        await follower.until(lambda seen: seen.has_ended(), seconds=200)
        message = await heard(user, lambda sent: bool(sent.buttons), seconds=60)
        await eventually(lambda: bool(post.envelopes), seconds=60)
        said = await answered(api, user.press(message.buttons["✅ Утвердить"], message), seconds=60)
        await follower.until(lambda seen: "message.validated" in seen.kinds, seconds=30)

        firings = (await ann.call("GET", f"/calendar/events/{event['id']}/firings"))["items"]
        (answer,) = follower.picture.answers
        await follower.check_against_fresh_load()
        assert said == "Утверждено."
        assert answer["validation"]["status"] == "approved"
        assert [(one["status"], one["answer_id"]) for one in firings] == [("done", answer["id"])]
        assert datetime.fromisoformat(firings[0]["fired_at"]) >= due
        asked = [one for one in follower.picture.messages.values() if not one["role"]]
        assert [(one["via"], one["author_id"]) for one in asked] == [("calendar", boris.id)]
        assert "Черновик @@accountant" in post.letters()[0]["Subject"]
        assert (first.faults, second.faults) == ([], [])

    owner = await asyncpg.connect(database_url)
    assert await owner.fetchval("SELECT count(*) FROM runs") == 1
    await owner.close()
