"""Outgoing webhooks: signed, without redirects, and never at an address of our own network."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest
from ssrfguard import Policy

from engine.adapters.webhooks import WebhookCourier
from engine.domains.notifications import DeliveryDelayed, DeliveryRefused, DeliveryUnknown, Note
from tests.contracts.mail_servers import misbehaving
from tests.contracts.test_mail import OFFICE, note, tiding

KEY = b"the key of one channel"


class Hook:
    """The other side: keeps what it was called with and answers as told."""

    def __init__(self, answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n", *, seconds: float = 0) -> None:
        self.answer = answer
        self.seconds = seconds
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head if line)}
        self.heads.append(headers)
        self.bodies.append(await reader.readexactly(int(headers["content-length"])))
        await asyncio.sleep(self.seconds)
        writer.write(self.answer)
        await writer.drain()


@asynccontextmanager
async def calling(hook: Hook) -> AsyncIterator[tuple[WebhookCourier, Note]]:
    """A courier that may call this hook, and a note for it."""
    async with misbehaving(hook.talk) as port:
        policy = Policy(allowed_networks=(ip_network("127.0.0.1/32"),), allowed_ports=frozenset({port}))
        courier = WebhookCourier(OFFICE, policy=policy, seconds=0.5, now=lambda: 1_800_000_000.5)
        about = replace(
            note(tiding("Заголовок", "Текст"), address=f"http://127.0.0.1:{port}/hook?a=1"),
            signing_key=KEY,
        )
        try:
            yield courier, about
        finally:
            await courier.close()


async def send(courier: WebhookCourier, about: Note) -> str:
    (part,) = courier.write(about)
    return await courier.send(part)


async def test_the_other_side_can_check_who_called_and_when() -> None:
    hook = Hook()
    async with calling(hook) as (courier, about):
        assert await send(courier, about) == "204"

    (headers,), (body,) = hook.heads, hook.bodies
    expected = hmac.digest(KEY, b"1800000000." + body, "sha256").hex()
    assert headers["x-rugpt-signature"] == f"v1={expected}"
    assert headers["x-rugpt-timestamp"] == "1800000000"
    assert headers["idempotency-key"] == str(about.delivery_id)
    told = json.loads(body)
    assert told["id"] == str(about.delivery_id)
    (item,) = told["notifications"]
    assert (item["headline"], item["text"], item["kind"]) == ("Заголовок", "Текст", "draft")


@pytest.mark.parametrize(
    ("status", "kind", "breaks"),
    [
        ("301 Moved\r\nLocation: http://127.0.0.1/", DeliveryRefused, False),
        ("400 Bad Request", DeliveryRefused, False),
        ("404 Not Found", DeliveryRefused, False),
        ("410 Gone", DeliveryRefused, True),
        ("429 Too Many Requests", DeliveryDelayed, None),
        ("500 Oh", DeliveryDelayed, None),
        ("503 Later", DeliveryDelayed, None),
    ],
)
async def test_its_answer_decides(status: str, kind: type[Exception], breaks: bool | None) -> None:
    hook = Hook(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    async with calling(hook) as (courier, about):
        with pytest.raises(kind) as refusal:
            await send(courier, about)

    assert getattr(refusal.value, "breaks_channel", None) is breaks
    assert len(hook.heads) == 1  # Nobody follows a redirect.


@pytest.mark.parametrize(
    ("wish", "seconds"), [("30", 30.0), ("999999", 3600.0), ("soon", None), ("-5", None), ("", None)]
)
async def test_its_wish_for_quiet_is_heeded_within_an_hour(wish: str, seconds: float | None) -> None:
    hook = Hook(f"HTTP/1.1 429 Slow\r\nRetry-After: {wish}\r\nContent-Length: 0\r\n\r\n".encode())
    async with calling(hook) as (courier, about):
        with pytest.raises(DeliveryDelayed) as delay:
            await send(courier, about)

    assert delay.value.retry_after_seconds == seconds


@pytest.mark.parametrize("hook", [Hook(b""), Hook(seconds=2), Hook(b"nonsense\r\n\r\n")])
async def test_whoever_takes_the_call_and_says_nothing_sound_may_have_it(hook: Hook) -> None:
    async with calling(hook) as (courier, about):
        with pytest.raises(DeliveryUnknown):
            await send(courier, about)


async def test_an_endless_answer_is_not_read() -> None:
    hook = Hook(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n" + b"x" * 100_000)
    async with calling(hook) as (courier, about):
        assert await send(courier, about) == "200"


async def test_nobody_there_is_tried_again() -> None:
    async with calling(Hook()) as (courier, about):
        pass

    with pytest.raises(DeliveryDelayed):
        await send(courier, about)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.5/",
        "http://192.168.1.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "https://127.0.0.1:8100/",
        "http://user:word@127.0.0.1/",
        "file:///etc/passwd",
        "http://",
    ],
)
async def test_nothing_of_our_own_network_is_called(url: str) -> None:
    courier = WebhookCourier(OFFICE)

    with pytest.raises(DeliveryRefused) as refusal:
        await send(courier, replace(note(tiding(), address=url), signing_key=KEY))
    await courier.close()

    assert refusal.value.breaks_channel
