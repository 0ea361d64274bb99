"""The bot against somebody else's idea of the Bot API, as far as that reaches.

telegram-test-api comes from npm. It answers sendMessage with a message that lacks its date, so nobody can
tell whether it was sent; what was asked of it is seen from the other side.
"""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from engine.adapters.telegram import Entity, TelegramBot
from engine.domains.notifications import DeliveryUnknown
from scripts.node import find_npm

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
TOKEN = "123456:a-token-of-the-tests"
IVAN = {"id": 501, "first_name": "Иван"}
CHAT = {"id": 501, "type": "private"}


@contextmanager
def telegram_test_api() -> Iterator[str]:
    """Run the server on a free port and give its address."""
    found = find_npm()
    assert found is not None, "scripts/test --system brings Node"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [found[0], str(HERE / "telegram_server.cjs"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "up\n"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def talk(url: str) -> dict[str, Any]:
    """Let the bot and a person talk; return what each of them has seen."""
    bot = TelegramBot(TOKEN, api_url=url)
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as person:
        try:
            await bot.be_asked()
            said = {"botToken": TOKEN, "from": IVAN, "chat": CHAT, "text": "/start CODE"}
            await person.post("/sendMessage", json=said)
            (started,) = await bot.updates(after=None)
            with pytest.raises(DeliveryUnknown):
                await bot.say(
                    501, "Черновик", entities=[Entity("bold", 0, 8)], buttons=[("Утвердить", "approve:x")]
                )
            seen = (await person.post("/getUpdates", json={"token": TOKEN, "chatId": 501})).json()["result"]
            message = {"message_id": seen[0]["messageId"], "chat": CHAT}
            pressed = {"botToken": TOKEN, "from": IVAN, "message": message, "data": "approve:x"}
            await person.post("/sendCallback", json=pressed)
            (press,) = await bot.updates(after=started["update_id"])
            await bot.answer_press(press["callback_query"]["id"], "Утверждено.")
            await bot.remove_buttons(501, seen[0]["messageId"])
        finally:
            await bot.close()
    return {"started": started, "seen": seen[0]["message"], "press": press}


def test_what_the_bot_says_and_hears_is_what_the_other_side_hears_and_says() -> None:
    with telegram_test_api() as url:
        told = asyncio.run(talk(url))

    assert told["started"]["message"]["text"] == "/start CODE"
    assert told["started"]["message"]["chat"] == CHAT
    assert (told["seen"]["chat_id"], told["seen"]["text"]) == ("501", "Черновик")
    buttons = [[{"text": "Утвердить", "callback_data": "approve:x"}]]
    assert told["seen"]["reply_markup"] == {"inline_keyboard": buttons}
    assert told["press"]["callback_query"]["data"] == "approve:x"
    assert told["press"]["callback_query"]["from"]["id"] == 501
