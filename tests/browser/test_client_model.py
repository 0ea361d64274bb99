"""The web client with a real language model behind the engine."""

import tempfile
from pathlib import Path

import pytest
from playwright.async_api import expect

from scripts.build_web import WEB, build, say
from tests.browser.desk import Office, chromium
from tests.process.engine import register, running
from tests.process.test_main_job import LOCAL, weights_folder

pytestmark = [pytest.mark.system, pytest.mark.model, pytest.mark.timeout(400)]


async def test_a_lawyer_of_a_real_model_answers_in_the_browser_and_is_signed() -> None:
    build(WEB, say)
    with tempfile.TemporaryDirectory(prefix="rugpt-browser-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        weights_folder().mkdir(parents=True, exist_ok=True)
        (data / "models").symlink_to(weights_folder())
        async with running(data, LOCAL, "--tiny") as engine, chromium() as browser:
            boss = await register(engine.port)
            office = Office(engine, browser, boss, lambda *_: None)
            desk = await office.desk()
            await desk.sign_in("ann")
            await desk.open(await boss.open_chat())

            await desk.say("@@lawyer Что проверить в договоре поставки? Кратко.")
            signing = desk.talk.get_by_role("button", name="Подписать", exact=True)
            await signing.click(timeout=200_000)

            await expect(desk.talk.get_by_text("Подписано: Анна")).to_be_visible()
            (_, answer) = await desk.texts()
            assert answer.strip()
            await office.close_desks()
            assert engine.faults == []
