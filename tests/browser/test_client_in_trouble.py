"""The web client when the network goes away, a chat is long, and the engine starts anew."""

import asyncio
import time
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.browser.desk import SECONDS, Desk, Office
from tests.process.engine import Person

pytestmark = [pytest.mark.system, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
MESSAGES = 1000
# Scrolls to the beginning as a hand does; returns what was seen on the way, and the most drawn at once.
SCROLL_UP = """async () => {
    const log = document.querySelector('[role=log]')
    const texts = new Set()
    let most = 0
    for (let step = 0; step < 3000; step++) {
        const drawn = [...log.querySelectorAll('article.message .prose')]
        drawn.forEach(prose => texts.add(prose.textContent.trim()))
        most = Math.max(most, drawn.length)
        if (log.scrollTop <= 0 && document.body.textContent.includes('Начало чата')) break
        log.scrollBy(0, -log.clientHeight / 2)
        await new Promise(done => setTimeout(done, 20))
    }
    return {texts: [...texts], most}
}"""
LONGEST_SECONDS = 3.0  # to open a chat of a thousand messages; a busy machine is slow


async def at_desk(office: Office) -> tuple[Desk, Person, str]:
    """Give somebody new a desk and a chat with the boss."""
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    chat_id = await office.boss.open_chat(boris)
    desk = await office.desk()
    await desk.sign_in(boris.username)
    await desk.open(chat_id)
    return desk, boris, chat_id


async def test_who_was_offline_in_the_middle_of_an_answer_ends_with_what_a_fresh_load_shows(
    office: Office,
) -> None:
    desk, _, chat_id = await at_desk(office)
    await desk.say("@@lawyer Долгий вопрос")
    await expect(desk.talk.locator("article.run")).to_contain_text("слово5")

    desk.wire.cut()
    await office.boss.post(chat_id, "Сказано, пока вас не было")
    await asyncio.sleep(1)
    assert "Сказано" not in await desk.talk.inner_text()
    desk.wire.mend()

    await expect(desk.said("Сказано, пока вас не было")).to_be_visible()
    await expect(desk.said("слово59")).to_be_visible()
    after_the_cut = await desk.texts()
    await desk.page.reload()
    await expect(desk.said("слово59")).to_be_visible()
    assert after_the_cut == await desk.texts()


async def test_what_is_said_offline_is_sent_once_when_the_network_is_back(office: Office) -> None:
    desk, boris, chat_id = await at_desk(office)
    desk.wire.cut()

    await desk.say("Сказано без сети")
    await expect(desk.page.get_by_text("Сказано без сети")).to_be_visible()
    await asyncio.sleep(1)
    desk.wire.mend()

    await expect(desk.said("Сказано без сети")).to_be_visible(timeout=SECONDS)
    assert [message["content"] for message in (await boris.messages(chat_id)).values()] == [
        "Сказано без сети"
    ]


async def test_without_the_engine_screens_say_so_and_go_on_when_it_is_back(office: Office) -> None:
    desk, _, _ = await at_desk(office)
    page = desk.page
    await desk.page.wait_for_timeout(4_000)  # The other screens are loaded while nobody waits.
    desk.wire.cut()

    for screen in ("notifications/channels", "notifications/log", "calendar"):
        await page.goto(f"{desk.address}#/{screen}")
        await expect(page.get_by_text("Не получилось загрузить")).to_be_visible()
        assert await desk.faults_of_access() == []
        await desk.picture(f"{screen.replace('/', '-')}-away")
    await expect(page.get_by_text("Нет связи с движком")).to_be_visible()
    desk.wire.mend()
    await page.get_by_role("main").get_by_role("button", name="Повторить").click()

    await expect(page.get_by_role("region", name="Календарь").locator(".month")).to_be_visible()
    await expect(page.get_by_text("Нет связи с движком")).to_have_count(0)


async def test_the_client_opens_without_the_engine_and_signs_in_when_it_is_back(office: Office) -> None:
    desk, _, _ = await at_desk(office)
    await desk.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    await desk.page.reload()  # What this loads is kept.
    await expect(desk.box).to_be_visible()

    desk.wire.cut()
    await desk.page.reload()
    await expect(desk.page.get_by_text("Движок не отвечает")).to_be_visible()
    await desk.picture("away")
    desk.wire.mend()

    await expect(desk.box).to_be_visible(timeout=SECONDS)  # It looks by itself every few seconds.


async def test_a_chat_of_a_thousand_messages_opens_at_once_and_scrolls_to_its_beginning(
    office: Office,
) -> None:
    desk, boris, chat_id = await at_desk(office)
    for number in range(0, MESSAGES, 20):
        await asyncio.gather(*(office.boss.post(chat_id, f"Сообщение {number + one}") for one in range(20)))
    await boris.call("POST", f"/chats/{chat_id}/read", {})  # It would open where the new ones begin.
    await desk.page.goto("about:blank")

    began = time.monotonic()
    await desk.open(chat_id)
    await expect(desk.talk.locator("article.message").first).to_be_visible()
    took = time.monotonic() - began
    seen = await desk.page.evaluate(SCROLL_UP)

    assert took < LONGEST_SECONDS
    await expect(desk.page.get_by_text("Начало чата")).to_be_visible()
    assert {f"Сообщение {number}" for number in range(MESSAGES)} <= set(seen["texts"])
    assert seen["most"] < MESSAGES / 3  # Only what is near is held and drawn.
