"""Take the pictures of the README from the real client: `python -m tests.browser.pictures`."""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Page, ViewportSize

from bench.processes import ROOT
from scripts.build_web import WEB, build, say
from tests.browser.desk import chromium
from tests.process.engine import PASSWORD, EngineProcess, Person, register, running
from tests.process.model import Script, answering

FOLDER = ROOT / "docs" / "pictures"
SIZE: ViewportSize = {"width": 1180, "height": 720}
ANSWERS = {
    "ru": (
        "**Коротко.** Можно, если просрочка существенная: две недели и больше — обычно да.\n\n"
        "1. Направьте поставщику письмо с новым сроком (ст. 523 ГК РФ).\n"
        "2. Не привезёт — уведомите об отказе от договора.\n\n"
        "| Срок | Что делать |\n|---|---|\n| 27 ноября | письмо с новым сроком |\n| 7 декабря | отказ |\n"
    ),
    "en": (
        "**In short.** Yes, if the delay is substantial: two weeks or more usually is.\n\n"
        "1. Write to the supplier and set a new date (Art. 523 of the Civil Code).\n"
        "2. If that passes too, give notice that you withdraw.\n\n"
        "| Date | What to do |\n|---|---|\n| 27 November | letter with a new date |\n"
        "| 7 December | withdraw |\n"
    ),
}
WORDS: dict[str, dict[str, Any]] = {
    "ru": {
        "chat": "Договоры",
        "hello": "Поставщик опять не привёз товар, вторая неделя пошла.",
        "question": "@@lawyer Можно ли расторгнуть договор поставки, если товар не привезли в срок?",
        "events": ("Сверить зарплату", "Планёрка", "Сдать табель", "Обзор новостей права"),
        "colleague": "Иван Громов",
    },
    "en": {
        "chat": "Contracts",
        "hello": "The supplier has not delivered again, it is the second week.",
        "question": "@@lawyer May we terminate the supply contract if the goods did not arrive in time?",
        "events": ("Check the payroll", "Stand-up", "Hand in time sheets", "News of the law"),
        "colleague": "John Grove",
    },
}


async def furnish(engine: EngineProcess, ann: Person, language: str) -> str:
    """Let people talk, ask and plan; return the chat's id."""
    words = WORDS[language]
    await ann.call("PATCH", f"/users/{ann.id}", {"locale": language})
    ivan = await ann.hire(f"ivan-{language}")
    await ann.call("PATCH", f"/users/{ivan.id}", {"display_name": words["colleague"]})
    new = {"title": words["chat"], "kind": "group", "members": [ivan.id], "roles": []}
    chat_id = str((await ann.call("POST", "/chats", new, expect=201))["id"])
    await ivan.post(chat_id, words["hello"])
    await ann.post(chat_id, words["question"])
    start = datetime.now(UTC).replace(day=1, hour=6, minute=0, second=0, microsecond=0)
    crons = ("0 10 10,25 * *", "30 9 * * 1-5", "0 17 * * 5", "0 11 * * 2")
    for title, cron in zip(words["events"], crons, strict=True):
        plan = {"title": title, "kind": "recurring", "starts_at": start.isoformat(), "cron": cron}
        plan |= {"timezone": "Europe/Moscow", "working_days": "skip", "chat_id": chat_id}
        await ann.call("POST", "/calendar/events", plan, expect=201)
    for _ in range(300):
        if any(one["role"] for one in (await ann.messages(chat_id)).values()):
            break
        await asyncio.sleep(0.1)
    return chat_id


async def take(page: Page, address: str, chat_id: str, language: str) -> None:
    """Go through the client and keep what it shows."""
    await page.goto(address)
    await page.locator("input").first.fill("ann")
    await page.locator("input[type=password]").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await page.locator("nav").first.wait_for()
    for name, place in (("chat", f"chats/{chat_id}"), ("inbox", "inbox"), ("calendar", "calendar")):
        await page.goto(f"{address}#/{place}")
        await page.wait_for_timeout(1500)
        path = FOLDER / f"{name}-{language}.png"
        await page.screenshot(path=path)
        print(f"pictures: {path.relative_to(ROOT)}", file=sys.stderr)


async def main() -> None:
    """Make all pictures, in both languages."""
    build(WEB, say)
    FOLDER.mkdir(exist_ok=True)

    def answer(body: dict[str, Any]) -> Script:
        language = "ru" if "Можно ли" in str(body["messages"][-1]["content"]) else "en"
        return Script(pieces=(ANSWERS[language],))

    async with answering(plan=answer) as model, chromium() as browser:
        for language in ("ru", "en"):
            with tempfile.TemporaryDirectory(prefix="rugpt-pictures-") as folder:
                settings = {**model.settings, "RUGPT_REGISTRATION": "open"}
                async with running(Path(folder) / "data", settings) as engine:
                    ann = await register(engine.port)
                    chat_id = await furnish(engine, ann, language)
                    locale = {"ru": "ru-RU", "en": "en-GB"}[language]
                    context = await browser.new_context(
                        locale=locale, timezone_id="Europe/Moscow", viewport=SIZE, color_scheme="light"
                    )
                    await take(
                        await context.new_page(), f"http://127.0.0.1:{engine.port}/", chat_id, language
                    )
                    await context.close()


if __name__ == "__main__":
    asyncio.run(main())
