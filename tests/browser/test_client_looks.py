"""How the web client looks: to everybody's eyes, ears and hands, in both themes and languages."""

from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.browser.desk import Desk, Office
from tests.process.engine import Person

pytestmark = [pytest.mark.system, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
SCREENS = ("chats", "inbox", "calendar", "notifications", "roles", "settings")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


async def furnished(office: Office, **options: Any) -> tuple[Desk, Person, str]:
    """Give somebody a desk with a chat in which a draft waits."""
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    chat_id = await office.boss.open_chat(boris)
    office.say_for_model(
        "Покажи всё",
        ("## Вывод\n\n", "Можно, **но** с `оговоркой`:\n\n- раз\n- два\n\n", "| срок | сумма |\n|---|---|\n",
         "| 5 дней | 10 ₽ |\n\n```python\nprint('да')\n```\n"),
        0,
    )  # fmt: skip
    desk = await office.desk(**options)
    await desk.sign_in(boris.username)
    await desk.open(chat_id)
    await office.boss.post(chat_id, f"Привет, @{boris.username}!")
    await desk.say("@@lawyer Покажи всё")
    await expect(desk.said("Вывод")).to_contain_text("Черновик: ждёт вашей подписи")
    return desk, boris, chat_id


async def show(desk: Desk, screen: str) -> None:
    """Open a screen and wait until it is there."""
    await desk.page.goto(f"{desk.address}#/{screen}")
    await expect(desk.page.locator("main h1").first).to_be_visible()
    await expect(desk.page.get_by_text("Загрузка…")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_screen_is_for_people_who_see_hear_or_move_otherwise(office: Office, scheme: str) -> None:
    desk, _, _ = await furnished(office, color_scheme=scheme)
    faults = {"chat": await desk.faults_of_access()}
    await desk.picture(f"chat-{scheme}")
    for screen in SCREENS:
        await show(desk, screen)
        faults[screen] = await desk.faults_of_access()
        await desk.picture(f"{screen}-{scheme}")
    boss = await office.desk(color_scheme=scheme)
    await boss.sign_in("ann")
    await show(boss, "admin")
    faults["admin"] = await boss.faults_of_access()
    await boss.picture(f"admin-{scheme}")
    stranger = await office.desk(color_scheme=scheme)
    await stranger.page.goto(stranger.address)
    await expect(stranger.page.get_by_role("button", name="Войти")).to_be_visible()
    faults["sign in"] = await stranger.faults_of_access()
    await stranger.picture(f"sign-in-{scheme}")

    told = [f"{screen}: {fault}" for screen, found in faults.items() for fault in found]
    assert not told, "\n\n".join(told)


@pytest.mark.parametrize(
    "options", [PHONE, {"viewport": {"width": 1920, "height": 1080}}], ids=["phone", "wide"]
)
async def test_nothing_is_wider_than_the_screen(office: Office, options: dict[str, Any]) -> None:
    desk, _, _ = await furnished(office, **options)
    place = "phone" if "is_mobile" in options else "wide"
    await desk.picture(f"chat-{place}")

    wide = {"chat": await desk.page.evaluate("document.documentElement.scrollWidth - innerWidth")}
    for screen in SCREENS:
        await show(desk, screen)
        await desk.picture(f"{screen}-{place}")
        wide[screen] = await desk.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert {screen: pixels for screen, pixels in wide.items() if pixels > 0} == {}


async def test_the_client_speaks_english_to_those_who_want_it(office: Office) -> None:
    desk = await office.desk(locale="en-GB")
    await desk.page.goto(desk.address)

    await expect(desk.page.get_by_role("button", name="Sign in")).to_be_visible()
    await desk.picture("sign-in-en")
    assert await desk.page.evaluate("document.documentElement.lang") == "en"
    assert await desk.faults_of_access() == []


async def test_markdown_of_a_role_is_drawn(office: Office) -> None:
    desk, _, _ = await furnished(office)
    answer = desk.said("Вывод")

    await expect(answer.get_by_role("heading", name="Вывод")).to_be_visible()
    await expect(answer.get_by_role("cell", name="10 ₽")).to_be_visible()
    await expect(answer.locator("pre code")).to_have_text("print('да')\n")
    await expect(answer.get_by_role("listitem")).to_have_count(2)
