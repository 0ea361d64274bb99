"""The calendar and the notifications in the web client, in a real browser on a real engine."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import pytest
from playwright.async_api import FilePayload, expect

from tests.browser.desk import SECONDS, Desk, Office
from tests.process.engine import Person, settled

pytestmark = [pytest.mark.system, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
EVERY_TUESDAY = "каждый вторник в 10:00, кроме праздников"
ICS = "\r\n".join(
    (
        *("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:{uid}@x"),
        *("DTSTART:20360101T090000Z", "SUMMARY:Из другого календаря", "END:VEVENT", "END:VCALENDAR", ""),
    )
)


async def at_desk(office: Office, *, timezone: str = "Europe/Moscow") -> tuple[Desk, Person, str]:
    """Give somebody new a desk and a chat with the boss; the clocks of the person and the desk agree."""
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    await boris.call("PATCH", f"/users/{boris.id}", {"timezone": timezone})
    chat_id = await office.boss.open_chat(boris)
    desk = await office.desk(timezone_id=timezone)
    await desk.sign_in(boris.username)
    return desk, boris, chat_id


def where_it_is(hour: int) -> str:
    """Return a time zone in which it is this hour now."""
    east = hour - datetime.now(UTC).hour
    east = east if east <= 14 else east - 24  # Hours of Greenwich.
    return f"Etc/GMT{-east:+}"


async def test_a_recurring_event_is_made_in_words_and_its_firing_leads_to_the_message(office: Office) -> None:
    desk, _, chat_id = await at_desk(office)
    page = desk.page
    office.say_for_model("Подготовь сводку", ("Сводка готова.",), 0)
    await desk.show("calendar")
    await page.get_by_role("button", name="Новое событие", exact=True).click()
    form = page.get_by_role("dialog", name="Новое событие")
    await form.get_by_label("Что", exact=True).fill("Сводка договоров")
    await form.get_by_label("Кто делает").select_option("lawyer")
    await form.get_by_label("Что поручить роли").fill("Подготовь сводку")
    await form.get_by_label("Чат").select_option(chat_id)
    await form.get_by_role("textbox", name="Когда").fill(EVERY_TUESDAY)

    await expect(form.get_by_text("Каждый вторник в 10:00, кроме праздников")).to_be_visible()
    await expect(form.locator("ol li")).to_have_text([re.compile(r"^вт, .*10:00")] * 5)
    assert await desk.faults_of_access() == []
    await desk.picture("event-form")
    await form.get_by_role("button", name="Сохранить").click()
    await page.get_by_role("button", name="Список").click()
    await page.get_by_role("link", name="Сводка договоров").first.click()
    event = page.get_by_role("dialog", name="Событие", exact=True)
    await expect(event.locator("ol li")).to_have_count(5)
    await event.get_by_role("button", name="Сделать сейчас").click()
    await expect(event.get_by_text("ждёт подписи")).to_be_visible(timeout=SECONDS)
    assert await desk.faults_of_access() == []
    await desk.picture("event")

    await event.get_by_role("link", name="сообщение").click()
    await expect(desk.said("Сводка готова.")).to_be_in_viewport()
    await desk.said("Сводка готова.").get_by_role("button", name="Подписать", exact=True).click()
    await expect(desk.said("Сводка готова.")).to_contain_text("Подписано")
    await page.go_back()
    await expect(event.get_by_text("сделано")).to_be_visible(timeout=SECONDS)


async def test_before_midnight_a_new_event_is_proposed_for_a_time_to_come(office: Office) -> None:
    desk, _, _ = await at_desk(office, timezone=where_it_is(23))
    await desk.show("calendar")

    await desk.page.get_by_role("button", name="Новое событие", exact=True).click()

    form = desk.page.get_by_role("dialog", name="Новое событие")
    await expect(form.locator("ol li")).to_have_count(1)


async def test_the_week_has_hours_and_an_event_is_made_where_one_points(office: Office) -> None:
    # At noon, so that what comes in two minutes comes in this week.
    desk, boris, _ = await at_desk(office, timezone=where_it_is(12))
    page = desk.page
    later = datetime.now(UTC) + timedelta(minutes=2)
    for title in ("Планёрка", "Созвон"):
        plan = {"title": title, "kind": "one_time", "starts_at": later.isoformat(), "timezone": "UTC"}
        await boris.call("POST", "/calendar/events", plan, expect=201)
    await desk.show("calendar")
    await page.get_by_role("button", name="Неделя").click()
    meeting, call = (page.get_by_role("link", name=title) for title in ("Планёрка", "Созвон"))
    boxes = [await each.bounding_box() for each in (meeting, call)]
    day = page.locator(".week section", has=meeting)
    height = await day.evaluate("section => section.clientHeight")
    await desk.picture("week-hours")
    assert await desk.faults_of_access() == []

    await page.get_by_role("button", name="Позже").click()
    await page.locator(".week section").first.click(position={"x": 20, "y": height * 15.5 / 24})

    assert all(boxes)
    one, other = sorted(box["x"] for box in boxes if box)
    assert other - one > 20, "what comes at the same time covers one another"
    form = page.get_by_role("dialog", name="Новое событие")
    await expect(form.get_by_label("Время", exact=True)).to_have_value("15:00")


async def test_a_month_left_open_over_night_shows_the_new_day(office: Office) -> None:
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    desk = await office.desk(timezone_id="Europe/Moscow")
    await desk.page.clock.install(time="2026-12-08T20:57:00Z")
    await desk.sign_in(boris.username)
    await desk.show("calendar")
    today = desk.page.locator("section.today")
    await expect(today).to_have_accessible_name("вторник, 8 декабря")

    await desk.page.clock.fast_forward(5 * 60 * 1000)

    await expect(today).to_have_accessible_name("среда, 9 декабря")


async def test_other_calendars_subscribe_by_a_secret_address_and_give_what_they_have(office: Office) -> None:
    desk, boris, _ = await at_desk(office)
    page = desk.page
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    plan = {"title": "Моё событие", "kind": "one_time", "starts_at": tomorrow, "timezone": "UTC"}
    await boris.call("POST", "/calendar/events", plan, expect=201)
    await desk.show("calendar")
    await page.get_by_role("button", name="Другие календари").click()
    dialog = page.get_by_role("dialog", name="Другие календари")

    await dialog.get_by_role("button", name="Создать новый адрес").click()
    address = await dialog.locator("code").inner_text()
    assert await desk.faults_of_access() == []
    await desk.picture("other-calendars")
    async with httpx2.AsyncClient(trust_env=False) as program:
        feed = await program.get(address)
        await dialog.get_by_role("button", name="Отключить адрес").click()
        await expect(page.get_by_text("Прежний адрес больше не открывается")).to_be_visible()
        closed = await program.get(address)
    file = FilePayload(name="work.ics", mimeType="text/calendar", buffer=ICS.format(uid=uuid4().hex).encode())
    await dialog.get_by_label("Файл календаря").set_input_files(file)
    await dialog.get_by_role("button", name="Загрузить").click()

    await expect(dialog.get_by_text("Добавлено 1 событие")).to_be_visible()
    assert "Моё событие" in feed.text
    assert closed.status_code == 404
    titles = [event["title"] for event in (await boris.call("GET", "/calendar/events"))["items"]]
    assert sorted(titles) == ["Из другого календаря", "Моё событие"]


async def test_the_bell_counts_what_one_is_told_and_leads_to_it(office: Office) -> None:
    desk, boris, chat_id = await at_desk(office)
    page = desk.page
    bell = page.get_by_role("navigation", name="Разделы").get_by_role("link", name="Уведомления")
    await office.boss.post(chat_id, f"@{boris.username}, взгляни на договор")
    await expect(bell).to_contain_text("1")

    await bell.click()
    news = page.get_by_role("article").filter(has_text="Упоминание")
    await expect(news).to_contain_text("взгляни на договор")
    assert await desk.faults_of_access() == []
    await desk.picture("news")
    await news.get_by_role("link", name="Открыть").click()

    await expect(desk.said("взгляни на договор")).to_be_in_viewport()
    await expect(bell).not_to_contain_text("1")


async def test_a_channel_is_tried_kept_quiet_and_its_deliveries_are_logged(office: Office) -> None:
    desk, boris, _ = await at_desk(office)
    page = desk.page
    await desk.show("notifications/channels")
    mail = page.get_by_role("article", name=f"E-mail · {boris.username}@example.com")

    await page.get_by_role("article", name="В этом клиенте").get_by_role("button", name="Проверить").click()
    await expect(page.get_by_text("Проверка пришла: этот канал работает")).to_be_visible()
    await mail.get_by_role("button", name="Проверить").click()
    await mail.get_by_role("button", name="Настроить").click()
    form = page.get_by_role("dialog", name="E-mail")
    await form.get_by_label("Тихие часы").check()
    await form.get_by_label("с", exact=True).fill("21:30")
    await form.get_by_label("до", exact=True).fill("07:15")
    assert await desk.faults_of_access() == []
    await desk.picture("channel-settings")
    await form.get_by_role("button", name="Сохранить").click()

    await expect(mail).to_contain_text("тихо 21:30–07:15")
    assert await desk.faults_of_access() == []
    await desk.picture("channels")
    await page.get_by_role("link", name="Журнал доставки").click()
    tried = page.get_by_role("row").filter(has_text="E-mail").filter(has_text="проверка")
    await expect(tried).to_contain_text("доставлено", timeout=SECONDS)
    assert await desk.faults_of_access() == []
    await desk.picture("delivery-log")


async def test_telegram_is_bound_by_a_link_or_a_picture_of_it(office: Office) -> None:
    desk, _, _ = await at_desk(office)
    page = desk.page
    await desk.show("notifications/channels")
    await page.get_by_role("button", name="Добавить канал").click()
    await page.get_by_role("dialog", name="Добавить канал").get_by_role("button", name="Добавить").click()
    binding = page.get_by_role("dialog", name="Привязать Telegram")
    link = await binding.get_by_role("link", name="Открыть Telegram").get_attribute("href")
    picture = binding.get_by_role("img", name="QR-код со ссылкой на бота")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("image => image.naturalWidth") > 100
    assert await desk.faults_of_access() == []
    await desk.picture("telegram")

    assert office.telegram is not None
    assert link is not None
    code = link.removeprefix("https://t.me/rugpt_bot?start=")
    office.telegram.user(int(uuid4()) % 10**9).write(f"/start {code}")

    await expect(page.get_by_text("Канал подтверждён")).to_be_visible(timeout=SECONDS)
    await expect(page.get_by_role("article", name=re.compile("Telegram"))).to_contain_text("работает")


async def test_an_admin_sees_what_reached_nobody_and_sends_it_again(office: Office) -> None:
    name = uuid4().hex[:8]
    new = {"username": f"u{name}", "email": f"nobody@{name}.example.com", "display_name": "Нет Почты"}
    added = await office.boss.call("POST", "/users", new, expect=201)
    person = await settled(office.engine.port, f"u{name}", added["temporary_password"])
    channels = (await person.call("GET", "/notifications/channels"))["items"]
    mail = next(channel["id"] for channel in channels if channel["kind"] == "email")
    await person.call("POST", f"/notifications/channels/{mail}/test", expect=202)
    desk = await office.desk()
    await desk.sign_in("ann")
    await desk.show("notifications/dead")
    row = desk.page.get_by_role("row").filter(has_text="Нет Почты")

    await expect(row).to_contain_text("E-mail", timeout=SECONDS)
    assert await desk.faults_of_access() == []
    await desk.picture("dead-letters")
    await row.get_by_role("button", name="Отправить снова").click()

    await expect(desk.page.get_by_text("Отправляем ещё раз")).to_be_visible()
