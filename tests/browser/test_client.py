"""What people do all day in the web client, in a real browser on a real engine."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from playwright.async_api import Locator, expect

from tests.browser.desk import Desk, Office
from tests.process.engine import PASSWORD, Person

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


async def hired(office: Office, name: str) -> Person:
    """Add somebody under a name of their own."""
    return await office.boss.hire(f"{name}{uuid4().hex[:6]}")


async def drafted(office: Office, person: Person, *kinds: str) -> str:
    """Have a role answer a question of each kind, one after the other; returns the chat of the drafts."""
    chat_id = await office.boss.open_chat(person)
    for kind in kinds:
        office.say_for_model(f"Вопрос {kind}", (f"Ответ {kind}.",), 0)
        posted = await person.post(chat_id, f"@@lawyer Вопрос {kind}")
        for _ in range(100):
            if (await person.run(posted["runs"][0]["id"]))["status"] == "completed":
                break
            await asyncio.sleep(0.1)
    return chat_id


async def inbox_of(office: Office, person: Person) -> tuple[Desk, Locator]:
    """Open somebody's drafts at a desk; returns it, and where the one that is read stands."""
    desk = await office.desk()
    await desk.page.clock.install()
    await desk.sign_in(person.username)
    await desk.page.goto(f"{desk.address}#/inbox")
    return desk, desk.page.get_by_role("region", name="Ждут моей подписи").locator("article")


async def approve(person: Person, chat_id: str, answer: str) -> None:
    """Sign an answer past the browser."""
    (found,) = [one for one in (await person.messages(chat_id)).values() if one["content"] == answer]
    await person.call("POST", f"/messages/{found['id']}/validation", {"verdict": "approve"})


async def verdicts(person: Person, chat_id: str) -> dict[str, str]:
    """Return what became of each answer."""
    messages = (await person.messages(chat_id)).values()
    return {one["content"]: one["validation"]["status"] for one in messages if one["role"]}


async def test_a_new_company_registers_and_talks_without_reading_anything(office: Office) -> None:
    desk = await office.desk()
    page = desk.page
    await page.goto(desk.address)
    await page.get_by_role("button", name="Зарегистрировать организацию").click()
    await page.get_by_label("Название организации").fill("ООО «Лютик»")
    await page.get_by_label("Ваше имя").fill("Ольга")
    await page.get_by_label("Имя пользователя").fill(f"olga{uuid4().hex[:6]}")
    await page.get_by_label("E-mail").fill("olga@example.com")
    await page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Создать и войти").click()

    await page.get_by_role("button", name="Новый чат").first.click()
    await page.get_by_label("Название").fill("Договоры")
    await page.get_by_role("button", name="Создать чат").click()
    await desk.say("@@lawyer Что проверить?")

    await expect(desk.said("слово0")).to_contain_text("слово59")
    await desk.said("слово59").get_by_role("button", name="Подписать", exact=True).click()
    await expect(desk.said("слово59")).to_contain_text("Подписано: Ольга")
    assert (await desk.texts())[0].endswith("Что проверить?")


@pytest.mark.parametrize(
    ("zone", "kept"), [("Asia/Novosibirsk", "Asia/Novosibirsk"), ("US/Nowhere", "Europe/Moscow")]
)
async def test_who_registers_in_english_goes_on_in_english_and_in_their_own_time_zone(
    office: Office, zone: str, kept: str
) -> None:
    desk = await office.desk(locale="en-US")
    page = desk.page
    await page.add_init_script(
        "const options = Intl.DateTimeFormat.prototype.resolvedOptions;"
        "Intl.DateTimeFormat.prototype.resolvedOptions ="
        f" function () {{ return {{...options.call(this), timeZone: '{zone}'}} }}"
    )
    await page.goto(desk.address)
    await page.get_by_role("button", name="Register an organization").click()
    await page.get_by_label("Name of the organization").fill("Daisy")
    await page.get_by_label("Your name").fill("Olga")
    await page.get_by_label("Username").fill(f"olga{uuid4().hex[:6]}")
    await page.get_by_label("E-mail").fill("olga@example.com")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Create and sign in").click()

    await expect(page.get_by_role("button", name="New chat").first).to_be_visible()
    await page.goto(f"{desk.address}#/settings")
    await expect(page.get_by_label("Time zone")).to_have_value(kept)
    refused = [fault for fault in desk.faults if "422" in fault]
    assert len(refused) == (kept != zone)
    for fault in refused:
        desk.faults.remove(fault)


async def test_a_temporary_password_is_changed_first(office: Office) -> None:
    username = f"vera{uuid4().hex[:6]}"
    new = {"username": username, "email": f"{username}@example.com", "display_name": "Вера"}
    added = await office.boss.call("POST", "/users", new, expect=201)
    desk = await office.desk()
    page = desk.page
    await page.goto(desk.address)
    await page.get_by_label("Имя пользователя или e-mail").fill(username)
    await page.get_by_label("Пароль", exact=True).fill(added["temporary_password"])
    await page.get_by_role("button", name="Войти").click()

    await page.get_by_label("Текущий пароль").fill(added["temporary_password"])
    await page.get_by_label("Новый пароль", exact=True).fill(PASSWORD)
    await page.get_by_label("Новый пароль ещё раз").fill(PASSWORD)
    await page.get_by_role("button", name="Сменить пароль").click()

    await expect(page.get_by_role("navigation", name="Разделы")).to_be_visible()


async def test_two_people_watch_one_answer_and_the_second_signs_it(office: Office) -> None:
    boris = await hired(office, "boris")
    chat_id = await office.boss.open_chat(boris)
    anns, his = await office.desk(), await office.desk()
    await anns.sign_in("ann")
    await his.sign_in(boris.username)
    await anns.open(chat_id)
    await his.open(chat_id)

    async def watch(desk: Desk) -> None:
        growing = desk.talk.locator("article.run")
        await expect(growing).to_contain_text("слово5")
        assert "слово59" not in await growing.inner_text()
        await expect(desk.said("слово59")).to_be_visible()
        await expect(growing).to_have_count(0)

    await his.say("@@lawyer Можно ли так?")
    await asyncio.gather(watch(anns), watch(his))
    await his.picture("draft")
    await anns.said("слово59").get_by_role("button", name="Подписать", exact=True).click()

    for desk in (anns, his):
        await expect(desk.said("слово59")).to_contain_text("Подписано: Анна")
    assert await anns.texts() == await his.texts()


async def test_a_mention_is_suggested_as_one_types_and_says_what_will_start(office: Office) -> None:
    boris = await hired(office, "boris")
    chat_id = await office.boss.open_chat(boris)
    desk = await office.desk()
    await desk.sign_in(boris.username)
    await desk.open(chat_id)

    await desk.box.press_sequentially("@@юр")
    await expect(desk.page.get_by_role("option", name=re.compile("Юрист"))).to_be_visible()
    await desk.box.press("Enter")

    assert (await desk.box.input_value()).startswith("@@")
    await expect(desk.page.get_by_text("Ответят:")).to_be_visible()
    assert await desk.talk.locator("article.message").count() == 0


async def test_drafts_are_signed_by_keys_alone(office: Office) -> None:
    boris = await hired(office, "boris")
    chat_id = await drafted(office, boris, "первый", "второй")
    desk, paper = await inbox_of(office, boris)
    await expect(paper).to_contain_text("Ответ первый.")
    await desk.picture("inbox")

    await desk.page.keyboard.press("j")
    await expect(paper).to_contain_text("Ответ второй.")
    await desk.page.keyboard.press("r")
    await desk.page.get_by_label("Причина").fill("Не о том")
    await desk.page.get_by_role("button", name="Отклонить ответ").click()
    await expect(desk.page.get_by_role("dialog")).to_have_count(0)
    await expect(paper).to_contain_text("Ответ первый.")
    await desk.page.keyboard.press("a")

    await expect(desk.page.get_by_text("Подписывать нечего")).to_be_visible()
    assert await verdicts(boris, chat_id) == {"Ответ первый.": "approved", "Ответ второй.": "rejected"}


async def test_what_was_meant_for_a_draft_that_another_decided_falls_on_no_other(office: Office) -> None:
    boris = await hired(office, "boris")
    chat_id = await drafted(office, boris, "первый", "второй", "третий")
    desk, paper = await inbox_of(office, boris)
    await expect(paper).to_contain_text("Ответ первый.")
    given: list[str] = []
    desk.page.on("request", lambda one: given.append(one.url) if one.url.endswith("/validation") else None)

    await desk.page.keyboard.press("r")
    await desk.page.get_by_label("Причина").fill("Не о том")
    await approve(office.boss, chat_id, "Ответ первый.")
    await expect(paper).to_contain_text("Ответ второй.")
    await desk.page.get_by_role("button", name="Отклонить ответ").click()
    await expect(desk.page.get_by_text("уже принято другим человеком")).to_be_visible()
    await desk.page.get_by_role("button", name="Отмена").click()
    assert len(given) == 1
    (refused,) = desk.faults
    assert "409" in refused
    desk.faults.clear()

    await desk.page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=5))
    await approve(office.boss, chat_id, "Ответ второй.")
    await expect(paper).to_contain_text("Ответ третий.")
    await expect(desk.page.get_by_text("больше не ждёт вашей подписи")).to_be_visible()
    for key in "aer":
        await desk.page.keyboard.press(key)
    await expect(paper.get_by_role("button", name="Подписать")).to_be_disabled()
    await expect(desk.page.get_by_role("dialog")).to_have_count(0)
    assert len(given) == 1
    await desk.page.clock.run_for(2_000)
    await expect(paper.get_by_role("button", name="Подписать")).to_be_enabled()
    await desk.page.keyboard.press("a")

    await expect(desk.page.get_by_text("Подписывать нечего")).to_be_visible()
    assert await verdicts(boris, chat_id) == dict.fromkeys(
        ("Ответ первый.", "Ответ второй.", "Ответ третий."), "approved"
    )


async def test_a_reload_and_a_second_tab_stay_signed_in_and_leaving_ends_both(office: Office) -> None:
    boris = await hired(office, "boris")
    desk = await office.desk()
    await desk.sign_in(boris.username)
    second = desk.watch(await desk.context.new_page())

    await asyncio.gather(*(page.goto(desk.address) for page in (desk.page, second)))
    await asyncio.gather(*(page.reload() for page in (desk.page, second)))

    for page in (desk.page, second):
        await expect(page.get_by_role("navigation", name="Разделы")).to_be_visible()
    kept = await desk.page.evaluate("JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie")
    assert "eyJ" not in kept
    assert "rugpt_refresh" not in kept
    (cookie,) = await desk.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/api/v1")
    await desk.page.goto(f"{desk.address}#/settings")
    await desk.page.get_by_role("button", name="Выйти").click()
    for page in (desk.page, second):
        await expect(page.get_by_role("button", name="Войти")).to_be_visible()
    assert await desk.context.cookies() == []


async def test_a_chat_left_open_over_night_says_what_is_yesterday(office: Office) -> None:
    boris = await hired(office, "boris")
    chat_id = await office.boss.open_chat(boris)
    posted = await office.boss.post(chat_id, "Отчёт сдан")
    evening = datetime.fromisoformat(posted["message"]["created_at"]).replace(hour=23, minute=57)
    desk = await office.desk(timezone_id="UTC")
    await desk.page.clock.install(time=evening)
    await desk.sign_in(boris.username)
    await desk.open(chat_id)
    await expect(desk.talk.get_by_role("heading", name="Сегодня")).to_be_visible()

    await desk.page.clock.fast_forward(5 * 60 * 1000)

    await expect(desk.talk.get_by_role("heading", name="Вчера")).to_be_visible()
    await expect(desk.talk.get_by_role("heading", name="Сегодня")).to_have_count(0)


async def test_another_organization_sees_nothing_of_it(office: Office) -> None:
    secret = f"тайна {uuid4().hex}"
    chat_id = await office.boss.open_chat()
    await office.boss.post(chat_id, secret)
    new = {"organization": "Чужие", "username": f"eva{uuid4().hex[:6]}", "email": "eva@example.com"}
    more = {"password": PASSWORD, "display_name": "Ева"}
    await Person(office.engine.port, "", {}).call("POST", "/auth/register", {**new, **more}, expect=201)
    desk = await office.desk()
    await desk.sign_in(new["username"])

    await desk.page.goto(f"{desk.address}#/chats/{chat_id}")

    await expect(desk.page.get_by_text("Такого чата нет")).to_be_visible()
    assert secret not in await desk.page.content()


PAYLOADS = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<svg onload='window.hacked = 3'><a xlink:href='javascript:window.hacked = 4'>жми</a></svg>",
    "[жми](javascript:window.hacked=5) [и сюда](data:text/html,<script>window.hacked=6</script>)",
    "![картинка](https://evil.example/pixel.png) ![](//evil.example/x.svg)",
    "<iframe srcdoc='<script>parent.hacked = 7</script>'></iframe><object data='https://evil.example'></object>",
    "<style>@import url(https://evil.example/x.css); body { display: none }</style>",
    "<form action='https://evil.example'><button autofocus onfocus='window.hacked = 8'>жми</button></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror='window.hacked = 9'></style></mglyph></table>",
    "```html\n<script>window.hacked = 10</script>\n```",
    '<a href="https://evil.example" onclick="window.hacked = 11" style="position:fixed;inset:0">жми</a>',
    "<link rel=stylesheet href=https://evil.example><meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'><div id=app></div><input name=attributes>",
)


FORBIDDEN = {"script", "iframe", "object", "embed", "style", "form", "link", "meta", "base", "math", "svg"}


async def test_what_people_and_models_write_is_only_words(office: Office) -> None:
    boris = await hired(office, "boris")
    chat_id = await office.boss.open_chat(boris)
    desk = await office.desk()
    await desk.sign_in(boris.username)
    await desk.open(chat_id)
    pieces = tuple(text[at : at + 7] for text in PAYLOADS for at in range(0, len(text) + 2, 7) or (0,))
    office.say_for_model("Взломай", (*(piece or "\n\n" for piece in pieces), "\n\nКонец ответа."), 0.002)

    for payload in PAYLOADS:
        await desk.say(f"{payload} №{PAYLOADS.index(payload)}")
    await desk.say("@@lawyer Взломай")

    await expect(desk.said("Конец ответа.")).to_be_visible()
    await desk.page.reload()
    await expect(desk.said("Конец ответа.")).to_be_visible()
    assert await desk.page.evaluate("window.hacked") is None
    drawn = await desk.talk.evaluate(
        "log => [...log.querySelectorAll('.prose *')].map(element => "
        "[element.localName, ...[...element.attributes].map(each => `${each.name}=${each.value}`)])"
    )
    assert drawn
    for name, *attributes in drawn:
        assert name not in FORBIDDEN
        for attribute in attributes:
            assert not re.match(r"on|style|srcdoc|(?:[\w:]*href|src|action)=\s*(?!https?:|#)", attribute), (
                attribute
            )
            assert not re.match(r"src=\s*(?:https?:)?//", attribute), attribute
    assert desk.page.url.startswith(desk.address)
