"""People at browsers: Debian's Chromium, driven by Playwright, on the client that the engine serves."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from tests.process.engine import PASSWORD, EngineProcess, Person
from tests.telegram_api import BotApi

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
# Colours that are half faded in nobody reads; what never ends, such as a wheel, is not waited for.
FADED_IN = """Promise.allSettled(
    document.getAnimations()
        .filter(animation => Number.isFinite(animation.effect.getComputedTiming().endTime))
        .map(animation => animation.finished)
)"""
SECONDS = 20_000.0  # in milliseconds, as Playwright counts
# Where the screenshots go that people look at; nowhere when unset.
SCREENSHOTS = os.environ.get("TESTS_SCREENSHOTS")
# A first look without a cookie is answered 401, and a wire may be cut: the browser says so in its console.
_EXPECTED = re.compile(r"status of 401|net::ERR_(?:CONNECTION|EMPTY|SOCKET|INCOMPLETE)")


class Wire:
    """The network between a browser and the engine; cut, it ends every connection and lets none begin."""

    def __init__(self, engine_port: int) -> None:
        self._engine_port = engine_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_cut = False

    async def start(self) -> int:
        """Begin to pass on what comes, and return the port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Lose every connection and refuse new ones until `mend`."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut = False

    async def stop(self) -> None:
        """End it."""
        self.cut()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._engine_port)
        self._writers |= {writer, there_writer}
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65_536):
                sink.write(piece)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()
            self._writers.discard(sink)


@dataclass
class Desk:
    """One browser of one person; `faults` are what its pages complained of, `strangers` whom they called."""

    context: BrowserContext
    page: Page
    port: int
    wire: Wire
    faults: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> Page:
        """Listen to what goes wrong in a page."""
        page.on("pageerror", lambda error: self.faults.append(f"{error}"))
        page.on("console", self._heard)
        page.on("dialog", lambda dialog: self.faults.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: self._asked(request.url))
        return page

    def _heard(self, message: Any) -> None:
        if message.type == "error" and not _EXPECTED.search(message.text):
            self.faults.append(f"{message.text} {message.location['url']}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != f"127.0.0.1:{self.port}":
            self.strangers.append(url)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def sign_in(self, username: str, password: str = PASSWORD) -> None:
        """Open the client and sign in by its page."""
        await self.page.goto(self.address)
        await self.page.get_by_label("Имя пользователя или e-mail").fill(username)
        await self.page.get_by_label("Пароль", exact=True).fill(password)
        await self.page.get_by_role("button", name="Войти").click()
        await expect(self.page.get_by_role("navigation").first).to_be_visible()

    async def open(self, chat_id: str, *, box: str = "Сообщение") -> None:
        """Open a chat; `box` is how its reader's language calls where one writes."""
        await self.page.goto(f"{self.address}#/chats/{chat_id}")
        await expect(self.page.get_by_role("textbox", name=box, exact=True)).to_be_visible()

    async def show(self, place: str) -> None:
        """Open a screen and wait until it is there."""
        await self.page.goto(f"{self.address}#/{place}")
        await expect(self.page.locator("main h1").first).to_be_visible()
        await expect(self.page.get_by_text(re.compile("^(Загрузка…|Loading…)$"))).to_have_count(0)

    @property
    def box(self) -> Locator:
        """Where one writes."""
        return self.page.get_by_role("textbox", name="Сообщение", exact=True)

    @property
    def talk(self) -> Locator:
        """What was said."""
        return self.page.get_by_role("log")

    def said(self, text: str) -> Locator:
        """A message with these words in it."""
        return self.talk.locator("article.message", has_text=text)

    async def say(self, text: str) -> None:
        """Write a message and send it."""
        await self.box.fill(text)
        await self.box.press("Enter")

    async def texts(self) -> list[str]:
        """Return what the messages say, in their order, also those that are out of view."""
        prose = self.talk.locator("article.message .prose")
        return [" ".join(text.split()) for text in await prose.all_text_contents()]

    async def faults_of_access(self) -> list[str]:
        """Return what axe finds wrong, once all has faded in, for people who see, hear or move otherwise."""
        await self.page.evaluate(FADED_IN)
        # Not a script element: the page's own policy would refuse it.
        await self.page.evaluate(AXE.read_text("utf-8"))
        found = await self.page.evaluate(
            "axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a',"
            " 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        return [
            f"{fault['id']}: {fault['help']}; {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for fault in found["violations"]
            for node in fault["nodes"]
            # How deep the headings of an answer go is its author's choice.
            if not (fault["id"] == "heading-order" and await self._is_written(node["target"][0]))
        ]

    async def _is_written(self, selector: str) -> bool:
        found = await self.page.evaluate(
            "selector => document.querySelector(selector)?.closest('.prose') !== null", selector
        )
        return bool(found)

    async def picture(self, name: str) -> None:
        """Take a screenshot, where somebody wants them."""
        if SCREENSHOTS:
            await self.page.evaluate("document.fonts.ready")
            await self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


@dataclass
class Office:
    """An engine and the browsers in front of it."""

    engine: EngineProcess
    browser: Browser
    boss: Person
    say_for_model: Callable[..., None]
    telegram: BotApi | None = None
    desks: list[Desk] = field(default_factory=list)

    async def desk(self, **options: Any) -> Desk:
        """Give somebody a browser of their own, in Russian unless told otherwise."""
        context = await self.browser.new_context(**{"locale": "ru-RU", **options})
        context.set_default_timeout(SECONDS)
        page = await context.new_page()
        wire = Wire(self.engine.port)
        desk = Desk(context, page, await wire.start(), wire)
        desk.watch(page)
        self.desks.append(desk)
        return desk

    async def close_desks(self) -> None:
        """Close the browsers; fails when a page of theirs complained or called a stranger."""
        desks, self.desks = self.desks, []
        for desk in desks:
            await desk.context.close()
            await desk.wire.stop()
        faults = [fault for desk in desks for fault in desk.faults]
        strangers = [stranger for desk in desks for stranger in desk.strangers]
        assert faults == [], f"pages complained: {faults}"
        assert strangers == [], f"pages called others: {strangers}"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser while the block runs."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
