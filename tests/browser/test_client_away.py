"""The web client by touch, in direct chats, and pushed to while nobody looks."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import CDPSession, async_playwright, expect

from tests.browser.desk import FLAGS, SECONDS, Desk, Office, Wire
from tests.browser.notes import Desktop, desktop
from tests.browser.test_client_looks import PHONE
from tests.contracts.test_mail import tiding
from tests.contracts.test_web_push import SubscribedBrowser, pushing
from tests.contracts.test_webhooks import Hook
from tests.process.engine import Person

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


async def at_desk(office: Office, **options: Any) -> tuple[Desk, Person]:
    """Give somebody new a desk."""
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    desk = await office.desk(**options)
    await desk.sign_in(boris.username)
    return desk, boris


async def test_a_colleague_is_written_to_directly_from_a_chat_or_a_search(office: Office) -> None:
    desk, boris = await at_desk(office)
    page = desk.page
    await desk.open(await office.boss.open_chat(boris))
    await page.get_by_role("button", name="О чате").click()
    await page.get_by_role("button", name="Написать лично: Анна").click()
    await expect(page.get_by_role("heading", name="Анна", level=1)).to_be_visible()
    await desk.say("Здравствуйте!")
    await expect(desk.said("Здравствуйте!")).to_be_visible()

    await desk.show("chats")
    await page.get_by_role("searchbox").fill("@ann")
    assert await desk.faults_of_access() == []
    await desk.picture("search")
    await page.get_by_role("button", name="Написать лично: Анна @ann").click()

    await expect(desk.said("Здравствуйте!")).to_be_visible()
    kinds = [chat["kind"] for chat in (await boris.call("GET", "/chats"))["items"]]
    assert sorted(kinds) == ["direct", "group"]


async def test_messages_are_answered_changed_and_deleted_by_touch(office: Office) -> None:
    desk, boris = await at_desk(office, **PHONE)
    page = desk.page
    chat_id = await office.boss.open_chat(boris)
    await office.boss.post(chat_id, "Когда ждать договор?")
    await desk.open(chat_id)
    await desk.say("Завтра")
    menu = "Что сделать с сообщением"

    await desk.said("Когда ждать").get_by_role("button", name=menu).tap()
    sheet = page.get_by_role("dialog", name=menu)
    assert await desk.faults_of_access() == []
    await desk.picture("message-menu-phone")
    await sheet.get_by_role("button", name="Ответить").tap()
    await desk.say("В понедельник")
    await expect(desk.said("В понедельник")).to_contain_text("Когда ждать договор?")
    await desk.said("Завтра").get_by_role("button", name=menu).tap()
    await sheet.get_by_role("button", name="Изменить").tap()
    await desk.say("Послезавтра")
    await expect(desk.said("Послезавтра")).to_contain_text("изменено")
    await desk.said("Послезавтра").get_by_role("button", name=menu).tap()
    await sheet.get_by_role("button", name="Удалить").tap()
    await page.get_by_role("dialog", name="Удалить").get_by_role("button", name="Удалить").tap()

    await expect(desk.said("Сообщение удалено")).to_be_visible()
    said = [message["content"] for message in (await boris.messages(chat_id)).values()]
    assert sorted(said) == ["", "В понедельник", "Когда ждать договор?"]


async def service_worker(desk: Desk) -> tuple[CDPSession, str]:
    """Return the browser's own tools, and the registration of the client's service worker."""
    page = desk.page
    await page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    tools = await desk.context.new_cdp_session(page)
    found: list[dict[str, Any]] = []
    tools.on("ServiceWorker.workerRegistrationUpdated", lambda told: found.extend(told["registrations"]))
    await tools.send("ServiceWorker.enable")
    await page.wait_for_timeout(200)
    (registration,) = [one for one in found if desk.address.startswith(one["scopeURL"])]
    return tools, registration["registrationId"]


async def sealed(headline: str, chat_id: str, message_id: str) -> str:
    """Return what the engine pushes to a browser, as only that browser can open it."""
    service, browser = Hook(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"), SubscribedBrowser()
    async with pushing(service, browser) as (courier, about):
        told = tiding(headline, "Договор готов", chat_id=chat_id, message_id=message_id)
        await courier.send(courier.write(replace(about, tidings=(told,)))[0])
    return browser.read(service.bodies[0]).decode()


@asynccontextmanager
async def desk_with(office: Office, shown: Desktop) -> AsyncIterator[Desk]:
    """Sit down at a browser with a profile of its own: only such a one hears that its notes are clicked."""
    wire = Wire(office.engine.port)
    port = await wire.start()
    with tempfile.TemporaryDirectory(prefix="rugpt-profile-", ignore_cleanup_errors=True) as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path="/usr/bin/chromium",
                args=[*FLAGS, "--headless=new"],
                ignore_default_args=["--headless"],
                env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": shown.address},
                locale="ru-RU",
            )
            context.set_default_timeout(SECONDS)
            desk = Desk(context, context.pages[0], port, wire)
            desk.watch(desk.page)
            await context.grant_permissions(["notifications"], origin=desk.address.rstrip("/"))
            yield desk
            await context.close()
    await wire.stop()
    assert (desk.faults, desk.strangers) == ([], [])


async def test_a_pushed_note_is_shown_by_the_desktop_and_a_click_leads_to_its_message(office: Office) -> None:
    boris = await office.boss.hire(f"boris{uuid4().hex[:6]}")
    chat_id = await office.boss.open_chat(boris)
    message_id = (await office.boss.post(chat_id, "Договор готов"))["message"]["id"]
    async with desktop() as shown, desk_with(office, shown) as desk:
        await desk.sign_in(boris.username)
        await desk.show("calendar")
        tools, registration = await service_worker(desk)

        async def push(headline: str) -> None:
            data = await sealed(headline, chat_id, message_id)
            delivery = {"origin": desk.address.rstrip("/"), "registrationId": registration, "data": data}
            await tools.send("ServiceWorker.deliverPushMessage", delivery)

        await push("Вас ждёт черновик")
        note = await shown.note("Вас ждёт черновик")
        await shown.click(note)
        await expect(desk.said("Договор готов")).to_be_in_viewport()
        assert "Договор готов" in note.text

        await desk.page.goto("about:blank")
        await push("И ещё один")
        async with desk.context.expect_page() as opened:
            await shown.click(await shown.note("И ещё один"))
        page = desk.watch(await opened.value)
        await expect(page.get_by_role("log").get_by_text("Договор готов")).to_be_in_viewport()
