"""The web client with a real language model behind the engine."""

import re
import tempfile
from pathlib import Path

import pytest
from playwright.async_api import expect

from scripts.build_web import WEB, build, say
from tests.browser.desk import Desk, Office, chromium
from tests.process.engine import PASSWORD, Person, running
from tests.process.test_main_job import LOCAL, weights_folder

pytestmark = [pytest.mark.system, pytest.mark.model, pytest.mark.timeout(400)]


async def test_a_new_company_registers_invites_asks_a_real_model_signs_and_sets_a_reminder() -> None:
    """All of it by what the pages say, from the first look at a fresh installation on."""
    build(WEB, say)
    with tempfile.TemporaryDirectory(prefix="rugpt-browser-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        weights_folder().mkdir(parents=True, exist_ok=True)
        (data / "models").symlink_to(weights_folder())
        async with running(data, LOCAL, "--tiny") as engine, chromium() as browser:
            office = Office(engine, browser, Person(engine.port, "", {}), lambda *_: None)
            desk = await office.desk(timezone_id="Europe/Moscow")
            await register(desk)
            await invite(desk)
            await ask_and_sign(desk)
            await remind(desk)
            await office.close_desks()
            assert engine.faults == []


async def register(desk: Desk) -> None:
    """Make the organization: the first page offers it."""
    page = desk.page
    await page.goto(desk.address)
    await page.get_by_label("Название организации").fill("Ромашка")
    await page.get_by_label("Ваше имя").fill("Анна")
    await page.get_by_label("Имя пользователя").fill("ann")
    await page.get_by_label("E-mail").fill("ann@example.com")
    await page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Создать и войти").click()


async def invite(desk: Desk) -> None:
    """Add a colleague, who gets a temporary password."""
    page = desk.page
    await page.get_by_role("link", name="Админ").click()
    await page.get_by_role("button", name="Пригласить").click()
    form = page.get_by_role("dialog", name="Новый человек")
    await form.get_by_label("Имя", exact=True).fill("Борис")
    await form.get_by_label("Имя пользователя").fill("boris")
    await form.get_by_label("E-mail").fill("boris@example.com")
    await form.get_by_role("button", name="Пригласить").click()
    told = page.get_by_role("dialog", name="Передайте пароль")
    await expect(told.locator("code")).not_to_be_empty()
    await told.get_by_role("button", name="Закрыть").last.click()


async def ask_and_sign(desk: Desk) -> None:
    """Open a chat with the colleague, call the lawyer there, and sign what it answers."""
    page = desk.page
    await page.get_by_role("link", name="Чаты").click()
    await page.get_by_role("button", name="Новый чат").first.click()
    form = page.get_by_role("dialog", name="Новый чат")
    await form.get_by_label("Название").fill("Договоры")
    await form.get_by_label("Борис").check()
    await form.get_by_role("button", name="Создать чат").click()
    await desk.say("@@lawyer Что проверить в договоре поставки? Кратко.")
    signing = desk.talk.get_by_role("button", name="Подписать", exact=True)
    await signing.click(timeout=200_000)
    await expect(desk.talk.get_by_text("Подписано: Анна")).to_be_visible()
    (_, answer) = await desk.texts()
    assert answer.strip()


async def remind(desk: Desk) -> None:
    """Set a reminder in words."""
    page = desk.page
    await page.get_by_role("link", name="Календарь").click()
    await page.get_by_role("button", name="Новое событие", exact=True).click()
    form = page.get_by_role("dialog", name="Новое событие")
    await form.get_by_label("Что", exact=True).fill("Позвонить в банк")
    await form.get_by_role("textbox", name="Когда").fill("завтра в 9 утра")
    await expect(form.locator("ol li")).to_have_text([re.compile("09:00")])
    await form.get_by_role("button", name="Сохранить").click()
    await page.get_by_role("button", name="Список").click()
    await expect(page.get_by_role("link", name="Позвонить в банк")).to_be_visible()
