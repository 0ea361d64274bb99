"""The engine behind a real Nginx, with the very configuration that the guide hands out."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.fake_model import Pace
from bench.processes import start
from tests.peers.nginx import TELEGRAM, nginx, raw_status
from tests.process.engine import EngineProcess, Person, Stream, eventually, register
from tests.telegram_api import TOKEN, BotApi, bot_api

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

PACE = Pace(first_ms=200, gap_ms=200, tokens=12)
# From the first word to the last; on a busy machine the first may come late, but not with the last.
SHORTEST_SECONDS = PACE.seconds / 2
COLLEAGUE, GUESSER, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.9"  # the last one is not on the VPN
TELEGRAMS_PATH = "/api/v1/notifications/telegram/webhook"


@dataclass(frozen=True, slots=True)
class Edge:
    """An Nginx, the engine behind it, somebody who has signed in there, and the engine's bot."""

    port: int
    engine_port: int
    ann: Person
    bot: BotApi

    async def ask(self, method: str, path: str, *, address: str = COLLEAGUE, **more: Any) -> httpx2.Response:
        """Call Nginx from an address of this machine."""
        transport = httpx2.AsyncHTTPTransport(local_address=address)
        async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=60) as http:
            return await http.request(method, f"http://127.0.0.1:{self.port}{path}", **more)

    async def ask_engine(self, method: str, path: str) -> httpx2.Response:
        """Call the engine past Nginx."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            return await http.request(method, f"http://127.0.0.1:{self.engine_port}{path}")


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    """An engine with its own database and the fake model, and Nginx before it."""
    pace = (f"--first-ms={PACE.first_ms}", f"--gap-ms={PACE.gap_ms}", f"--tokens={PACE.tokens}")
    model = await start("bench.fake_model", *pace)
    settings = {
        "RUGPT_MODEL": f"openai:{PACE.model}",
        "RUGPT_OPENAI_BASE_URL": f"http://127.0.0.1:{model.port}/v1",
        "RUGPT_TRUSTED_PROXIES": "127.0.0.1",
        "RUGPT_TELEGRAM_TOKEN": TOKEN,
        "RUGPT_TELEGRAM_UPDATES": "webhook",
        "RUGPT_PUBLIC_URL": "https://rugpt.example.internal",
    }
    async with AsyncExitStack() as running:
        bot = await running.enter_async_context(bot_api())
        settings["RUGPT_TELEGRAM_API_URL"] = bot.url
        running.push_async_callback(model.stop)
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="rugpt-nginx-")))
        engine = await EngineProcess.start(folder / "data", settings)
        running.push_async_callback(engine.terminate)
        ann = await register(engine.port)
        port = await running.enter_async_context(nginx(folder, f"127.0.0.1:{engine.port}"))
        yield Edge(port, engine.port, Person(port, ann.token, ann.user), bot)


async def test_the_prefix_is_stripped_and_the_query_kept(edge: Edge) -> None:
    me = await edge.ann.call("GET", "/web/auth/me")
    users = await edge.ann.call("GET", "/web/users?limit=1")

    assert me == await Person(edge.engine_port, edge.ann.token, edge.ann.user).call("GET", "/auth/me")
    assert len(users["items"]) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/chats",
        "/index.html",
        "/assets/",
        "/assets/deep/down.js",
        "/assets/..%2fopenapi.json",
        "/api/v1/health",
        "/api/v1/auth/me",
        "/api/v1/web",
        "/api/v1/webhooks",
        "/docs",
        "/openapi.json",
        "/favicon.txt",
        "/api/v1/web/../health",
        "/api/v1/web/%2e%2e/health",
        "/api/v1/web/..%2fhealth",
        "/api/v1/web/chats/..%2F..%2F../health",
    ],
)
async def test_nothing_but_the_web_prefix_leads_to_the_engine(edge: Edge, path: str) -> None:
    status, answer = await raw_status(edge.port, path)

    assert status in (301, 404)  # 301: "/api/v1/web" is sent to "/api/v1/web/"
    assert b"nginx" in answer
    assert b"application/problem+json" not in answer


@pytest.mark.parametrize("path", ["/", "/sw.js", "/icon.svg", "/assets/index-none.js"])
async def test_the_page_of_the_web_client_and_its_files_come_from_the_engine(edge: Edge, path: str) -> None:
    through_nginx, direct = await edge.ask("GET", path), await edge.ask_engine("GET", path)
    posted = await edge.ask("POST", path, content=b"x")

    assert through_nginx.status_code == direct.status_code
    assert through_nginx.headers["content-type"] == direct.headers["content-type"]
    assert through_nginx.headers["x-content-type-options"] == "nosniff"
    assert posted.status_code == 403
    assert "nginx" in posted.text


@pytest.mark.parametrize(
    ("path", "inner"),
    [("/api/v1/web/auth%2Fme", "/api/v1/auth/me"), ("/api/v1/web//auth/me", "/api/v1/auth/me")],
)
async def test_an_encoded_or_doubled_slash_is_a_slash(edge: Edge, path: str, inner: str) -> None:
    """So a path means the same to Nginx, which checks it, and to the engine, which obeys it."""
    through_nginx, answer = await raw_status(edge.port, path)
    direct, _ = await raw_status(edge.engine_port, inner)

    assert through_nginx == direct == 401
    assert b"application/problem+json" in answer


async def test_letters_in_a_path_arrive_as_they_were_sent(edge: Edge) -> None:
    authorization = {"Authorization": f"Bearer {edge.ann.token}"}

    known = await edge.ask("GET", "/api/v1/web/roles/l%61wyer", headers=authorization)
    unknown = await edge.ask("GET", "/api/v1/web/roles/%D1%8E%20%3F", headers=authorization)

    assert known.json()["code"] == "lawyer"
    assert (unknown.status_code, unknown.json()["code"]) == (404, "role_not_found")


async def test_whoever_is_not_on_the_vpn_is_turned_away(edge: Edge) -> None:
    outside = await edge.ask("GET", "/api/v1/web/health", address=STRANGER)
    inside = await edge.ask("GET", "/api/v1/web/health")

    assert (outside.status_code, inside.status_code) == (403, 200)


async def test_telegram_reaches_its_own_door_without_the_prefix_and_nothing_else(edge: Edge) -> None:
    await eventually(lambda: edge.bot.webhook is not None, what="the engine's word to Telegram")
    assert edge.bot.webhook is not None
    assert edge.bot.webhook["url"] == f"https://rugpt.example.internal{TELEGRAMS_PATH}"
    known = {"X-Telegram-Bot-Api-Secret-Token": edge.bot.webhook["secret_token"]}
    update = {"update_id": 1}

    taken = await edge.ask("POST", TELEGRAMS_PATH, address=TELEGRAM, json=update, headers=known)
    pretender = await edge.ask("POST", TELEGRAMS_PATH, address=TELEGRAM, json=update)
    assert (taken.status_code, taken.json()) == (200, {"is_new": True})
    assert (pretender.status_code, pretender.json()["code"]) == (403, "telegram_secret_wrong")

    # By Nginx itself, before the engine hears of it.
    for method, path, address in (
        ("POST", TELEGRAMS_PATH, COLLEAGUE),
        ("POST", TELEGRAMS_PATH, STRANGER),
        ("GET", TELEGRAMS_PATH, TELEGRAM),
        ("POST", f"/api/v1/web{TELEGRAMS_PATH.removeprefix('/api/v1')}", TELEGRAM),
        ("GET", "/api/v1/web/health", TELEGRAM),
        ("GET", "/", TELEGRAM),
        ("POST", f"{TELEGRAMS_PATH}/more", TELEGRAM),
    ):
        refused = await edge.ask(method, path, address=address, headers=known)
        assert refused.status_code in (403, 404), (method, path, address)
        assert "nginx" in refused.text


async def test_words_arrive_as_they_are_written(edge: Edge) -> None:
    """Buffered, they would all come at once."""
    chat_id = await edge_chat(edge)
    stream = await Stream.open(edge.port, f"/web/chats/{chat_id}/events", edge.ann.token)
    arrivals, text = [], ""

    async with aclosing(stream.events()) as events:
        assert (await anext(events)).kind == "hello"
        await edge.ann.call(
            "POST", f"/web/chats/{chat_id}/messages", {"content": "@@lawyer Что в договоре?"}, expect=201
        )
        async for event in events:
            if event.kind == "run.delta":
                arrivals.append(time.monotonic())
                text += event.data["text"]
            if event.kind in ("run.completed", "run.failed"):
                break
    stream.close()

    assert event.kind == "run.completed"
    assert text.startswith("Ответ ")
    assert len(arrivals) >= PACE.tokens / 3
    assert arrivals[-1] - arrivals[0] > SHORTEST_SECONDS
    assert b"text/event-stream" in stream.headers.lower()


async def test_a_post_that_answers_as_a_stream_is_not_buffered_either(edge: Edge) -> None:
    chat_id = await edge_chat(edge)
    body = {"content": "@@lawyer И ещё раз?"}
    stream = await Stream.open(edge.port, f"/web/chats/{chat_id}/messages", edge.ann.token, body=body)

    async with aclosing(stream.events()) as events:
        heard = [(event.kind, time.monotonic()) async for event in events]
    stream.close()

    words = [at for kind, at in heard if kind == "run.delta"]
    assert heard[0][0] == "message.created"
    assert words[-1] - words[0] > SHORTEST_SECONDS


async def test_a_client_cannot_choose_the_address_that_its_guesses_count_for(edge: Edge) -> None:
    guess = {"username": "nobody", "password": "wrong horse battery"}

    async def attempt(number: int) -> str:
        answer = await edge.ask(
            "POST",
            "/api/v1/web/auth/login",
            address=GUESSER,
            json={**guess, "username": f"nobody{number}"},
            headers={"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": f"203.0.113.{number}"},
        )
        return str(answer.json()["code"])

    codes = await asyncio.gather(*(attempt(number) for number in range(60)))
    colleague = await edge.ask("POST", "/api/v1/web/auth/login", json=guess)
    believed = await Person(edge.engine_port, "", {}).call("POST", "/auth/login", guess, expect=401)

    assert codes.count("too_many_attempts") >= 5
    assert (colleague.status_code, believed["code"]) == (401, "invalid_credentials")


async def test_a_body_that_is_too_long_is_refused_in_the_engines_words(edge: Edge) -> None:
    too_long = b'{"content":"' + b"x" * 1_000_000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(too_long), 50_000):
            yield too_long[at : at + 50_000]

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {edge.ann.token}"}
    direct = await refused_by_the_engine(edge, len(too_long))
    whole = await edge.ask("POST", "/api/v1/web/chats", content=too_long, headers=headers)
    chunked = await edge.ask("POST", "/api/v1/web/chats", content=pieces(), headers=headers)

    for answer in (whole, chunked):
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        said = answer.json()
        assert (said["code"], said["detail"]) == (direct["code"], direct["detail"])
        assert said.keys() == direct.keys()


async def test_a_body_just_within_the_limit_reaches_the_engine(edge: Edge) -> None:
    content = json.dumps({"title": "x" * 990_000, "kind": "group"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {edge.ann.token}"}

    answer = await edge.ask("POST", "/api/v1/web/chats", content=content, headers=headers)

    assert answer.status_code == 422


async def edge_chat(edge: Edge) -> str:
    new = {"title": "Поставка", "kind": "group", "members": [], "roles": []}
    return str((await edge.ann.call("POST", "/web/chats", new, expect=201))["id"])


async def refused_by_the_engine(edge: Edge, length: int) -> dict[str, Any]:
    """Announce a body to the engine itself, and return what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.engine_port)
    writer.write(f"POST /api/v1/chats HTTP/1.1\r\nHost: engine\r\nContent-Length: {length}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b" 413 " in head
    said: dict[str, Any] = json.loads(body)
    return said
