"""Measure the web client in Debian's Chromium: first load, words to paint, long tasks, memory.

The engine, its database and its bundle are the real ones; the model is the bench's own. Written to RESULTS.md
by `python -m bench.browser`; needs Chromium at /usr/bin/chromium and a built client (scripts/web).
"""

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
from playwright.async_api import Browser, Page, ViewportSize, async_playwright
from rich.console import Console

from bench import report
from bench.engine_process import API, PASSWORD, USERNAME, EngineProcess
from bench.fake_model import Pace
from bench.processes import start
from bench.report import Section

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-precise-memory-info", "--js-flags=--expose-gc"),
)
PACE = Pace(first_ms=200, gap_ms=50, tokens=160)
STREAMS = 20  # in one chat, all of them in view
CALLED_AT_ONCE = 10  # by one message; more are refused
# A role answers a chat in turn, so twenty streams are twenty roles; zoomed out, a screen shows them all.
SCREEN: ViewportSize = {"width": 1600, "height": 5200}
ZOOM = 0.5
ROLE = """code: clerk{number}
name: {{ru: "Писарь {number}", en: "Clerk {number}"}}
description: {{ru: "Отвечает.", en: "Answers."}}
agent_type: simple
prompt: assistant.md
limits: {{steps: 2, seconds: 240, tokens: 3000}}
validation: {{required: true, approvers: [asker, admins]}}
"""
LOADS = 10
GOAL_PAINT_MS, GOAL_TASK_MS = 50, 100

# Notes when bytes with words arrive, and when the frame that first shows them has been drawn. Words that grow
# come into the page within a frame, before it is drawn; the next task is the first after the drawing.
PROBE = """(() => {
    const probe = window.probe = {paints: [], tasks: [], waiting: null}
    new PerformanceObserver(list => list.getEntries().forEach(entry => probe.tasks.push(entry.duration)))
        .observe({type: 'longtask', buffered: true})
    const read = ReadableStreamDefaultReader.prototype.read
    ReadableStreamDefaultReader.prototype.read = async function () {
        const piece = await read.apply(this, arguments)
        if (piece.value && new TextDecoder().decode(piece.value).includes('event: run.delta'))
            probe.waiting ??= performance.now()
        return piece
    }
    const grows = ({target}) => (target.closest ? target : target.parentElement)?.closest('.growing')
    addEventListener('DOMContentLoaded', () => new MutationObserver(changes => {
        if (probe.waiting === null || !changes.some(grows)) return
        const arrived = probe.waiting
        probe.waiting = null
        const drawn = new MessageChannel()
        drawn.port1.onmessage = () => probe.paints.push(performance.now() - arrived)
        drawn.port2.postMessage(null)
    }).observe(document.body, {subtree: true, childList: true, characterData: true}))
})()"""
IN_VIEW = """() => [...document.querySelectorAll('article.run .growing')].filter(words => {
    const {top, bottom} = words.getBoundingClientRect()
    return top >= 0 && bottom <= innerHeight
}).length"""
SCROLL = """async () => {
    const log = document.querySelector('[role=log]')
    for (let step = 0; step < 20000; step++) {
        if (log.scrollTop <= 0 && document.body.textContent.includes('Начало чата')) return true
        log.scrollBy(0, -log.clientHeight)
        await new Promise(done => setTimeout(done, 10))
    }
    return false
}"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured."""

    load_ms: list[float]
    load_kb: float
    paints_ms: list[float]
    tasks_ms: list[float]
    in_view: int
    memory_before_mb: float
    memory_after_mb: float
    messages: int


async def measure(messages: int) -> Figures:
    """Start everything, let one person watch, and end it."""
    pace = (f"--first-ms={PACE.first_ms}", f"--gap-ms={PACE.gap_ms}", f"--tokens={PACE.tokens}")
    model = await start("bench.fake_model", *pace)
    with tempfile.TemporaryDirectory(prefix="rugpt-bench-") as folder:
        engine = await EngineProcess.start(
            Path(folder) / "data",
            model=PACE.model,
            model_port=model.port,
            settings={},
            roles=clerks(Path(folder) / "roles"),
        )
        address = f"http://127.0.0.1:{engine.child.port}"
        try:
            async with (
                async_playwright() as playwright,
                httpx2.AsyncClient(base_url=address + API, trust_env=False, timeout=60) as http,
            ):
                browser = await playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=list(FLAGS)
                )
                context = await browser.new_context(locale="ru-RU")
                page = await context.new_page()
                new = {"organization": "Bench", "username": USERNAME, "email": "bench@example.com"}
                more = {"password": PASSWORD, "display_name": "Bench"}
                signed_in = (await http.post("/auth/register", json={**new, **more})).json()
                http.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
                loads, size = await first_loads(browser, address)
                wide = await browser.new_context(locale="ru-RU", viewport=SCREEN, device_scale_factor=ZOOM)
                paints, tasks, in_view = await streams(await wide.new_page(), http, address)
                await wide.close()
                await sign_in(page, address)
                before, after = await long_chat(page, http, address, messages)
                await browser.close()
        finally:
            await engine.stop()
            await model.stop()
    return Figures(loads, size, paints, tasks, in_view, before, after, messages)


async def first_loads(browser: Browser, address: str) -> tuple[list[float], float]:
    """Return how long it takes until a new browser's owner can type their name; and what that loads."""
    took, size = [], 0.0
    for _ in range(LOADS):
        context = await browser.new_context(locale="ru-RU")
        page = await context.new_page()
        began = time.perf_counter()
        await page.goto(address)
        await page.get_by_role("button", name="Войти").wait_for()
        took.append((time.perf_counter() - began) * 1000)
        size = await page.evaluate(
            "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
            ".reduce((sum, entry) => sum + entry.encodedBodySize, 0)"
        )
        await context.close()
    return took, size / 1000


async def sign_in(page: Page, address: str) -> None:
    """Sign in by the page."""
    await page.add_init_script(PROBE)
    await page.goto(address)
    await page.get_by_label("Имя пользователя или e-mail").fill(USERNAME)
    await page.get_by_label("Пароль", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Войти").click()
    await page.get_by_role("navigation", name="Разделы").wait_for()


def clerks(folder: Path) -> Path:
    """Write the roles that answer, and return their folder."""
    folder.mkdir()
    for number in range(STREAMS):
        (folder / f"clerk{number}.yaml").write_text(ROLE.format(number=number))
    return folder


async def streams(page: Page, http: httpx2.AsyncClient, address: str) -> tuple[list[float], list[float], int]:
    """Let twenty roles answer at once; return words to paint, long tasks, and how many were in view."""
    chat_id = await open_chat(http)
    await sign_in(page, address)
    await page.goto(f"{address}/#/chats/{chat_id}")
    await page.get_by_role("log").wait_for()
    await page.evaluate("() => { probe.paints = []; probe.tasks = [] }")
    for first in range(0, STREAMS, CALLED_AT_ONCE):
        called = " ".join(f"@@clerk{first + number}" for number in range(CALLED_AT_ONCE))
        posted = await http.post(f"/chats/{chat_id}/messages", json={"content": f"{called} Что важно?"})
        posted.raise_for_status()
    await page.locator("article.run").nth(STREAMS - 1).wait_for()
    await asyncio.sleep(PACE.seconds * 0.8)
    in_view = int(await page.evaluate(IN_VIEW))
    taken: dict[str, list[float]] = await page.evaluate("({paints: probe.paints, tasks: probe.tasks})")
    await page.locator("article.run").first.wait_for(state="detached", timeout=60_000)
    return taken["paints"], taken["tasks"], in_view


async def long_chat(page: Page, http: httpx2.AsyncClient, address: str, messages: int) -> tuple[float, float]:
    """Return the memory of scripts before and after somebody has scrolled through a long chat."""
    chat_id = await open_chat(http)
    for first in range(0, messages, 20):
        bodies = [{"content": f"Сообщение {first + number}. " + "Слова " * 20} for number in range(20)]
        path = f"/chats/{chat_id}/messages"
        await asyncio.gather(*(http.post(path, json=body) for body in bodies))
    before = await memory_mb(page)
    await page.goto(f"{address}/#/chats/{chat_id}")
    await page.get_by_role("log").wait_for()
    assert await page.evaluate(SCROLL), "the beginning of the chat was not reached"
    return before, await memory_mb(page)


async def open_chat(http: httpx2.AsyncClient) -> str:
    """Open a chat and return its id."""
    return str((await http.post("/chats", json={"title": "Поставка"})).json()["id"])


async def memory_mb(page: Page) -> float:
    """Return what the page's scripts hold, after what nobody holds was thrown away."""
    await page.evaluate("() => gc()")
    return float(await page.evaluate("performance.memory.usedJSHeapSize")) / 1e6


def shown(figures: Figures) -> Section:
    """Make the table."""
    paints, loads = sorted(figures.paints_ms), sorted(figures.load_ms)
    longest = max(figures.tasks_ms, default=0.0)
    median_load, median_paint, late_paint = _share(loads, 0.5), _share(paints, 0.5), _share(paints, 0.95)
    rows: list[tuple[str, ...]] = [
        ("first load in a new browser, until one can type", f"{median_load:.0f} ms", ""),
        ("what a first load brings, packed", f"{figures.load_kb:.0f} kB", _goal(figures.load_kb, 120, "kB")),
        ("words to paint, median", f"{median_paint:.1f} ms", ""),
        ("words to paint, p95", f"{late_paint:.1f} ms", _goal(late_paint, GOAL_PAINT_MS, "ms")),
        ("longest task while streaming", f"{longest:.0f} ms", _goal(longest, GOAL_TASK_MS, "ms")),
        ("memory of scripts before the long chat", f"{figures.memory_before_mb:.1f} MB", ""),
        (f"after scrolling {figures.messages} messages", f"{figures.memory_after_mb:.1f} MB", ""),
    ]
    notes = (
        f"{STREAMS} streams at once, {figures.in_view} of them whole in view, a word in {PACE.gap_ms} ms.",
        f"{len(paints)} paints: from the arrival of bytes with words until the frame with them is drawn.",
        f"A page of {SCREEN['width']} × {SCREEN['height']} pixels, zoomed out to {ZOOM:.0%}; no GPU.",
        f"{LOADS} loads. A task below 50 ms is none that the browser tells of, and is shown as 0.",
    )
    return Section("browser", "The web client in Chromium", ("", "", "goal"), tuple(rows), notes)


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _goal(value: float, most: float, unit: str) -> str:
    return f"≤ {most:.0f} {unit}: {'met' if value <= most else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.browser", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000, help="in the long chat")
    parser.add_argument("--quick", action="store_true", help="500 messages; RESULTS.md stays as it is")
    asked = parser.parse_args()
    section = shown(asyncio.run(measure(500 if asked.quick else asked.messages)))
    section.show(Console())
    if not asked.quick:
        report.write([section], [], 0.0, program="python -m bench.browser")


if __name__ == "__main__":
    main()
