"""Answers that are corrected, stopped and looked into, and what one writes oneself, in the web client."""

import re
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.browser.desk import SECONDS, Desk, Office
from tests.process.engine import Person

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


async def at_desk(office: Office) -> tuple[Desk, Person, str]:
    """Give somebody new a desk and a chat with the boss."""
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    chat_id = await office.boss.open_chat(boris)
    desk = await office.desk()
    await desk.sign_in(boris.username)
    await desk.open(chat_id)
    return desk, boris, chat_id


async def test_a_draft_is_corrected_beside_its_changes_and_signed(office: Office) -> None:
    desk, boris, chat_id = await at_desk(office)
    office.say_for_model("Сколько дней", ("Поставка за пять дней.",), 0)
    await desk.say("@@lawyer Сколько дней?")
    await expect(desk.page).to_have_title(re.compile(r"^\(1\)"))

    await desk.said("пять дней").get_by_role("button", name="Исправить").click()
    form = desk.page.get_by_role("dialog", name="Исправить и подписать")
    await form.get_by_label("Ваш текст").fill("Поставка за десять дней.")
    await expect(form.locator("del")).to_have_text("пять")
    await expect(form.locator("ins")).to_have_text("десять")
    assert await desk.faults_of_access() == []
    await desk.picture("edit-draft")
    await form.get_by_role("button", name="Подписать исправленное").click()

    await expect(desk.said("десять дней")).to_contain_text("Исправлено и подписано")
    await expect(desk.page).to_have_title(re.compile(r"^[^(]"))
    states = [one["validation"]["status"] for one in (await boris.messages(chat_id)).values() if one["role"]]
    assert states == ["edited"]


async def test_an_answer_is_stopped_and_asked_for_again(office: Office) -> None:
    desk, _, _ = await at_desk(office)
    await desk.say("@@lawyer Остановят ли тебя?")
    run = desk.talk.locator("article.run")
    await expect(run).to_contain_text("слово5")

    await run.get_by_role("button", name="Остановить").click()
    await expect(run).to_contain_text("Остановлено")
    assert await desk.faults_of_access() == []
    await run.get_by_role("button", name="Спросить снова").click()

    await expect(desk.said("слово59")).to_be_visible(timeout=SECONDS)


async def test_the_tools_of_an_answer_are_a_line_each_that_opens(office: Office) -> None:
    desk, _, _ = await at_desk(office)
    words = tuple(f"час{number} " for number in range(60))
    office.say_for_model("Который час", words, 0.05, "current_time")
    await desk.say("@@lawyer Который час?")

    step = desk.talk.locator("article.run li", has_text="Узнать дату и время")
    await step.locator("summary").click()
    await expect(step).to_contain_text("current_time")
    await desk.picture("steps")
    await desk.said("час59").get_by_text("Как получен ответ").click(timeout=SECONDS)

    await expect(desk.said("час59").locator("details.step")).to_contain_text("Узнать дату и время")
    assert await desk.faults_of_access() == []


async def test_what_is_not_sent_is_kept_for_its_chat_and_sent_by_the_keys_one_chose(office: Office) -> None:
    desk, boris, chat_id = await at_desk(office)
    other_id = await boris.open_chat()
    await desk.box.fill("Ещё не всё")
    await desk.open(other_id)
    await expect(desk.box).to_have_value("")
    await desk.show("settings")
    await desk.page.get_by_label("Ctrl+Enter").check()
    await desk.open(chat_id)
    await expect(desk.box).to_have_value("Ещё не всё")

    await desk.box.press("End")
    await desk.box.press("Enter")
    await desk.box.press_sequentially("вторая строка")
    assert await desk.talk.locator("article.message").count() == 0
    await desk.box.press("Control+Enter")

    await expect(desk.said("вторая строка")).to_be_visible()
    said = [message["content"] for message in (await boris.messages(chat_id)).values()]
    assert said == ["Ещё не всё\nвторая строка"]


async def test_what_was_said_long_ago_is_found_and_shown(office: Office) -> None:
    desk, boris, chat_id = await at_desk(office)
    await boris.post(chat_id, "Договор подряда номер семь")
    for number in range(120):
        await boris.post(chat_id, f"Сообщение {number}")
    await desk.page.reload()
    await expect(desk.said("Сообщение 119")).to_be_in_viewport()

    await desk.page.get_by_role("button", name="Поиск в чате").click()
    await desk.page.get_by_role("searchbox", name="Поиск в чате").fill("подряда")
    await desk.page.get_by_role("button", name=re.compile("Договор подряда")).click()

    await expect(desk.said("Договор подряда")).to_be_in_viewport()
