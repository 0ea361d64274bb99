"""How the web client looks: to everybody's eyes, ears and hands, in both themes and languages."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import expect

from tests.browser.desk import Desk, Office
from tests.process.engine import Person

pytestmark = [pytest.mark.system, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
SCREENS = (
    *("chats", "inbox", "calendar", "notifications", "notifications/channels", "notifications/log"),
    *("roles", "settings"),
)
ADMINS = tuple(f"admin/{part}" for part in ("users", "roles", "runs", "models", "days", "organization"))
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


async def promoted(office: Office, desk: Desk, person: Person, language: str) -> None:
    """Make somebody an administrator, which ends their sessions, and sign them in again."""
    await office.boss.call("PATCH", f"/users/{person.id}", {"role": "admin", "locale": language})
    await desk.page.reload()
    await desk.sign_in(person.username)


@pytest.mark.parametrize("language", ["ru", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_screen_is_for_people_who_see_hear_or_move_otherwise(
    office: Office, scheme: str, language: str
) -> None:
    look = f"{scheme}-{language}"
    desk, boris, chat_id = await furnished(office, color_scheme=scheme)
    new_year = f"{datetime.now(UTC):%Y}-01-01T09:00Z"
    plan = {"title": "Планёрка", "kind": "recurring", "starts_at": new_year, "timezone": "UTC"}
    await boris.call("POST", "/calendar/events", {**plan, "cron": "30 9 * * 1-5"}, expect=201)
    await promoted(office, desk, boris, language)
    await desk.open(chat_id, box="Сообщение" if language == "ru" else "Message")
    faults = {"chat": await desk.faults_of_access()}
    await desk.picture(f"chat-{look}")
    for screen in (*SCREENS, *ADMINS):
        await desk.show(screen)
        faults[screen] = await desk.faults_of_access()
        await desk.picture(f"{screen.replace('/', '-')}-{look}")
    assert await desk.page.evaluate("document.documentElement.lang") == language
    for name, place in (("week", 1), ("agenda", 2)):
        await desk.show("calendar")
        await desk.page.locator(".views button").nth(place).click()
        faults[name] = await desk.faults_of_access()
        await desk.picture(f"{name}-{look}")
    stranger = await office.desk(color_scheme=scheme, locale={"ru": "ru-RU", "en": "en-GB"}[language])
    await stranger.page.goto(stranger.address)
    await expect(stranger.page.locator("form")).to_be_visible()
    faults["sign in"] = await stranger.faults_of_access()
    await stranger.picture(f"sign-in-{look}")

    told = [f"{screen}: {fault}" for screen, found in faults.items() for fault in found]
    assert not told, "\n\n".join(told)


@pytest.mark.parametrize(
    "options", [PHONE, {"viewport": {"width": 1920, "height": 1080}}], ids=["phone", "wide"]
)
async def test_nothing_is_wider_than_the_screen(office: Office, options: dict[str, Any]) -> None:
    desk, boris, chat_id = await furnished(office, **options)
    await promoted(office, desk, boris, "ru")
    await desk.open(chat_id)
    place = "phone" if "is_mobile" in options else "wide"
    await desk.picture(f"chat-{place}")

    wide = {"chat": await desk.page.evaluate("document.documentElement.scrollWidth - innerWidth")}
    for screen in (*SCREENS, *ADMINS):
        await desk.show(screen)
        await desk.picture(f"{screen.replace('/', '-')}-{place}")
        wide[screen] = await desk.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    for name, view in (("month", 0), ("week", 1)):
        await desk.show("calendar")
        await desk.page.locator(".views button").nth(view).click()
        await desk.picture(f"{name}-{place}")
        wide[name] = await desk.page.evaluate("document.documentElement.scrollWidth - innerWidth")
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
