"""An engine with its own database, its web client, and a model that says what a test wants."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from scripts.build_web import WEB, build, say
from tests.browser.desk import Office, chromium
from tests.contracts.mail_servers import Post, real_server
from tests.process.engine import register, running
from tests.process.model import Script, answering, has_tool_result
from tests.telegram_api import TOKEN, bot_api

ANSWER = Script(pieces=tuple(f"слово{number} " for number in range(60)), gap_seconds=0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_office() -> AsyncIterator[Office]:
    """An engine and a browser for the tests of one file."""
    build(WEB, say)
    scripts: list[tuple[str, Script]] = []

    def plan(body: dict[str, Any]) -> Script:
        said = [str(message["content"]) for message in body["messages"] if message["role"] == "user"]
        script = next((script for words, script in reversed(scripts) if words in said[-1]), ANSWER)
        if script.tool_calls and not has_tool_result(body):
            return Script(pieces=(), tool_calls=script.tool_calls)
        return replace(script, tool_calls=())

    def say_for_model(words: str, pieces: tuple[str, ...], gap_seconds: float, *tools: str) -> None:
        calls = tuple((tool, "{}") for tool in tools)
        scripts.append((words, Script(pieces=pieces, gap_seconds=gap_seconds, tool_calls=calls)))

    with tempfile.TemporaryDirectory(prefix="rugpt-browser-", ignore_cleanup_errors=True) as folder:
        async with (
            answering(plan=plan) as model,
            chromium() as browser,
            real_server(Post()) as smtp_port,
            bot_api() as telegram,
        ):
            settings = {**model.settings, "RUGPT_REGISTRATION": "open"}
            settings |= {
                "RUGPT_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}?tls=none",
                "RUGPT_TELEGRAM_TOKEN": TOKEN,
                "RUGPT_TELEGRAM_API_URL": telegram.url,
            }
            async with running(Path(folder) / "data", settings) as engine:
                office = Office(engine, browser, await register(engine.port), say_for_model, telegram)
                yield office
                assert engine.faults == []


@pytest_asyncio.fixture(loop_scope="module")
async def office(open_office: Office) -> AsyncIterator[Office]:
    """The same, with the desks of one test."""
    yield open_office
    await open_office.close_desks()
