"""What an administrator does in the web client, in a real browser on a real engine."""

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.browser.desk import Desk, Office

pytestmark = [pytest.mark.system, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]


async def admins_desk(office: Office, place: str) -> Desk:
    """Sit down as the boss, at a part of the administration."""
    desk = await office.desk(timezone_id="UTC")  # Its years begin with ours.
    await desk.sign_in("ann")
    await desk.show(f"admin/{place}")
    return desk


async def signs_in(office: Office, username: str, password: str) -> bool:
    """Tell whether this password lets somebody in."""
    desk = await office.desk()
    page = desk.page
    await page.goto(desk.address)
    await page.get_by_label("Имя пользователя или e-mail").fill(username)
    await page.get_by_label("Пароль", exact=True).fill(password)
    await page.get_by_role("button", name="Войти").click()
    wrong = page.get_by_text("Имя, пароль или организация не подходят.")
    inside = page.get_by_label("Текущий пароль").or_(page.get_by_role("navigation", name="Разделы"))
    await expect(wrong.or_(inside).first).to_be_visible()
    return not await wrong.is_visible()


async def test_somebody_is_invited_gets_a_new_password_and_is_let_out_and_in(office: Office) -> None:
    username = f"vera{uuid4().hex[:6]}"
    desk = await admins_desk(office, "users")
    page = desk.page
    await page.get_by_role("button", name="Пригласить").click()
    form = page.get_by_role("dialog", name="Новый человек")
    await form.get_by_label("Имя", exact=True).fill("Вера Павлова")
    await form.get_by_label("Имя пользователя").fill(username)
    await form.get_by_label("E-mail").fill(f"{username}@example.com")
    assert await desk.faults_of_access() == []
    await desk.picture("invite")
    await form.get_by_role("button", name="Пригласить").click()
    told = page.get_by_role("dialog", name="Передайте пароль")
    first = await told.locator("code").inner_text()
    assert await desk.faults_of_access() == []
    await told.get_by_role("button", name="Закрыть").last.click()
    assert await signs_in(office, username, first)
    row = page.get_by_role("row").filter(has_text=f"@{username}")

    await row.get_by_role("button", name="Сбросить пароль").click()
    await page.get_by_role("dialog").get_by_role("button", name="Сбросить пароль").click()
    second = await told.locator("code").inner_text()
    await told.get_by_role("button", name="Закрыть").last.click()
    assert not await signs_in(office, username, first)
    assert await signs_in(office, username, second)

    await row.get_by_role("button", name="Отключить").click()
    await page.get_by_role("dialog").get_by_role("button", name="Отключить").click()
    await expect(row).to_contain_text("отключён")
    assert not await signs_in(office, username, second)
    await row.get_by_role("button", name="Включить").click()
    await expect(row).not_to_contain_text("отключён")
    assert await signs_in(office, username, second)
    async with page.expect_response(re.compile("/users/")):
        await row.get_by_role("combobox").select_option("admin")
    listed = (await office.boss.call("GET", "/users?limit=100"))["items"]
    assert {one["role"] for one in listed if one["username"] == username} == {"admin"}


async def test_a_role_that_is_switched_off_answers_nobody_and_keeps_what_it_was_told(office: Office) -> None:
    chat_id = await office.boss.open_chat()
    desk = await admins_desk(office, "roles")
    page = desk.page
    hr = page.get_by_role("region", name="Кадровик")
    await hr.get_by_label("Указания организации").fill("Отпуск — 31 день.")
    await hr.get_by_role("button", name="Сохранить").click()
    await expect(page.get_by_text("Сохранено")).to_be_visible()

    await hr.get_by_role("switch").uncheck()
    await expect(hr).to_contain_text("выключена")
    await desk.open(chat_id)
    await desk.box.fill("@@hr Сколько дней?")
    await expect(page.get_by_text("Не ответит: @@hr")).to_be_visible()

    roles = {role["code"]: role for role in (await office.boss.call("GET", "/roles"))["items"]}
    assert (roles["hr"]["enabled"], roles["hr"]["instruction"]) == (False, "Отпуск — 31 день.")
    await desk.show("admin/roles")
    await hr.get_by_role("switch").check()
    await expect(hr).to_contain_text("включена")


async def test_a_run_of_a_chat_of_others_is_stopped(office: Office) -> None:
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    chat_id = await boris.open_chat()
    office.say_for_model("Бесконечный вопрос", tuple("слово " for _ in range(2000)), 0.05)
    posted = await boris.post(chat_id, "@@lawyer Бесконечный вопрос")
    desk = await admins_desk(office, "runs")
    row = desk.page.get_by_role("row").filter(has_text="чужой чат")
    await expect(row).to_contain_text(boris.user["display_name"])
    assert await desk.faults_of_access() == []
    await desk.picture("runs-now")

    await row.get_by_role("button", name="Остановить").click()

    await expect(desk.page.get_by_text("Сейчас никто не отвечает")).to_be_visible()
    assert (await boris.run(posted["runs"][0]["id"]))["status"] == "cancelled"


async def test_the_organization_says_which_days_it_works(office: Office) -> None:
    year = datetime.now(UTC).year + 1
    path = f"/calendar/working-days/RU/{year}"
    desk = await admins_desk(office, "days")
    page = desk.page
    await page.get_by_role("button", name="Позже").click()
    await expect(page.get_by_role("heading", name=str(year))).to_be_visible()
    day = page.locator(f"#day-{year}-01-01")
    await expect(day).to_have_attribute("aria-pressed", "true")
    assert await desk.faults_of_access() == []

    await day.click()
    await expect(day).to_have_attribute("aria-pressed", "false")
    await expect(page.get_by_text("Ваша организация изменила 1 день")).to_be_visible()
    await day.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Ваша организация изменила 2 дня")).to_be_visible()
    await desk.picture("working-days")
    said = (await office.boss.call("GET", path))["changed"]
    await page.get_by_role("button", name="Вернуть государственный календарь").click()

    await expect(day).to_have_attribute("aria-pressed", "true")
    assert said == {f"{year}-01-01": True, f"{year}-01-02": True}
    assert (await office.boss.call("GET", path))["changed"] == {}


async def test_health_and_the_name_of_the_organization_are_shown(office: Office) -> None:
    desk = await admins_desk(office, "models")
    page = desk.page
    await expect(page.get_by_role("listitem").filter(has_text="База данных")).to_contain_text("в порядке")
    await expect(page.get_by_role("listitem").filter(has_text="openai")).to_contain_text("готова")
    assert await desk.faults_of_access() == []

    await page.get_by_role("link", name="Организация").click()
    await page.get_by_label("Название").fill("Ромашка и Ко")
    await page.get_by_role("button", name="Сохранить").click()

    await expect(page.get_by_text("Сохранено")).to_be_visible()
    assert (await office.boss.call("GET", "/organizations/current"))["name"] == "Ромашка и Ко"
    assert await desk.faults_of_access() == []
