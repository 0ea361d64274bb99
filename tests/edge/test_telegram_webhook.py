"""Telegram's own door: its secret is asked for before a byte is read, and what comes in is stored once."""

import asyncio

import asyncpg
import httpx2
import pytest

from engine.api import create_app
from engine.domains.notifications import Office
from tests.database.test_telegram import api as api  # noqa: PLC0414 - a fixture
from tests.database.test_telegram import ask_code, telegraph
from tests.edge.conftest import Parts
from tests.edge.serving import served
from tests.postal import SEAL, becomes_true
from tests.telegram_api import TOKEN, BotApi, heard
from tests.world import World

PATH = "/api/v1/notifications/telegram/webhook"


@pytest.fixture
def called(parts: Parts) -> Parts:
    parts.office = Office(SEAL, frozenset({"in_app", "telegram"}), telegram_token=TOKEN)
    return parts


async def knock(port: int, *headers: str, body: bytes = b"") -> bytes:
    """Send a request with its body held back; return the answer that comes all the same."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"POST {PATH} HTTP/1.1", "Host: engine", "Content-Type: application/json", *headers]
    writer.write("\r\n".join([*head, f"Content-Length: {len(body) or 500_000}", "", ""]).encode() + body)
    async with asyncio.timeout(5):
        answer = await reader.read(4096)
    writer.close()
    return answer


async def test_of_a_stranger_not_a_byte_of_the_body_is_read(called: Parts) -> None:
    secret = called.office.telegram_secret
    assert secret is not None
    async with served(create_app(called)) as port:
        for headers in (
            [],
            ["X-Telegram-Bot-Api-Secret-Token: wrong"],
            [f"X-Telegram-Bot-Api-Secret-Token: {secret}x"],
            [f"X-Telegram-Bot-Api-Secret-Token: {secret[:-1]}"],
        ):
            answer = await knock(port, *headers)
            assert answer.startswith(b"HTTP/1.1 403")
            assert b"telegram_secret_wrong" in answer


async def test_without_a_bot_nobody_is_let_in(parts: Parts) -> None:
    parts.office = Office(SEAL)
    async with served(create_app(parts)) as port:
        assert (await knock(port, "X-Telegram-Bot-Api-Secret-Token: ")).startswith(b"HTTP/1.1 403")


async def test_an_update_is_stored_before_it_is_acknowledged_and_once(
    called: Parts, database_url: str
) -> None:
    secret = str(called.office.telegram_secret)
    async with served(create_app(called)) as port, httpx2.AsyncClient(trust_env=False) as http:
        for is_new in (True, False, False):
            answer = await http.post(
                f"http://127.0.0.1:{port}{PATH}",
                json={"update_id": 7001, "message": {"message_id": 1, "text": "привет"}},
                headers={"X-Telegram-Bot-Api-Secret-Token": secret},
            )
            assert (answer.status_code, answer.json()) == (200, {"is_new": is_new})
        for number in (
            True,
            "x",
            -1,
            2**63,
            None,
        ):
            answer = await http.post(
                f"http://127.0.0.1:{port}{PATH}",
                json={"update_id": number},
                headers={"X-Telegram-Bot-Api-Secret-Token": secret},
            )
            assert (answer.status_code, answer.json()) == (200, {"is_new": False})

    owner = await asyncpg.connect(database_url)
    rows = await owner.fetch("SELECT bot_id, update_id FROM telegram_updates")
    await owner.close()
    assert [tuple(row) for row in rows] == [(123456, 7001)]


async def test_a_chat_is_bound_through_the_webhook(
    world: World, called: Parts, api: BotApi, database_url: str
) -> None:
    firm = await world.organization()
    code, _ = await ask_code(called.database, firm.admin)
    user = api.user(501)
    async with (
        served(create_app(called)) as port,
        telegraph(called.database, api, is_called=True),
    ):
        await becomes_true(database_url, "SELECT count(*) = 1 FROM leases")
        async with asyncio.timeout(10):
            while True:
                if api.webhook is not None:
                    break
                await asyncio.sleep(0.02)
        assert api.webhook["url"] == f"https://rugpt.example{PATH}"
        user.write(f"/start {code}")
        statuses = [await api.call_webhook(f"http://127.0.0.1:{port}{PATH}") for _ in range(2)]
        await heard(user, lambda sent: sent.text.startswith("Готово"))

    assert statuses == [[200], [200]]
    assert len(user.heard()) == 1
    assert "getUpdates" not in api.calls
