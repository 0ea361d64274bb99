"""Pushes to browsers: only the browser reads them, and its maker knows who sends."""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ssrfguard import Policy

from engine.adapters.web_push import PushCourier, PushKey
from engine.domains.notifications import DeliveryDelayed, DeliveryRefused, Note
from tests.contracts.mail_servers import misbehaving
from tests.contracts.test_mail import note, tiding
from tests.contracts.test_webhooks import Hook

KEY = PushKey(b"the secret of one installation")


class SubscribedBrowser:
    """A browser that somebody lets be pushed to."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)
        self._point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.keys = {"p256dh": text_of(self._point), "auth": text_of(self._auth)}

    def read(self, pushed: bytes) -> bytes:
        """Undo a push (RFC 8291)."""
        salt, size, theirs = pushed[:16], pushed[20], pushed[21 : 21 + pushed[20]]
        shared = self._key.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs)
        )
        seed = _derived(shared, self._auth, b"WebPush: info\0" + self._point + theirs, 32)
        key = _derived(seed, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derived(seed, salt, b"Content-Encoding: nonce\0", 12)
        return AESGCM(key).decrypt(nonce, pushed[21 + size :], None).rstrip(b"\0").removesuffix(b"\x02")


def _derived(secret: bytes, salt: bytes, about: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=about).derive(secret)


def text_of(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


@asynccontextmanager
async def pushing(
    service: Hook, browser: SubscribedBrowser, *about: str
) -> AsyncIterator[tuple[PushCourier, Note]]:
    """A courier that may call this push service, and a note for the browser."""
    async with misbehaving(service.talk) as port:
        policy = Policy(allowed_networks=(ip_network("127.0.0.1/32"),), allowed_ports=frozenset({port}))
        courier = PushCourier(KEY, subscriber="rugpt@firm.example", policy=policy, seconds=0.5)
        written = note(
            *(tiding(headline, "Текст " * 200) for headline in about),
            address=f"http://127.0.0.1:{port}/push/1",
        )
        try:
            yield courier, replace(written, signing_key=json.dumps(browser.keys).encode())
        finally:
            await courier.close()


async def test_only_the_browser_reads_what_is_pushed() -> None:
    service, browser = Hook(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"), SubscribedBrowser()
    async with pushing(service, browser, "Черновик ждёт") as (courier, about):
        (part,) = courier.write(about)
        assert await courier.send(part) == "201"

    (pushed,), (headers,) = service.bodies, service.heads
    assert "Черновик".encode() not in pushed
    assert len(pushed) < 4096
    shown = json.loads(browser.read(pushed))
    assert shown["title"] == "Черновик ждёт"
    assert shown["body"].startswith("Текст Текст")
    assert len(shown["body"]) <= 300
    assert shown["tag"] == str(about.delivery_id)
    assert shown["chat_id"] == (str(about.tidings[0].chat_id) if about.tidings[0].chat_id else None)
    assert headers["content-encoding"] == "aes128gcm"
    assert int(headers["ttl"]) > 0


async def test_the_service_can_check_who_pushes() -> None:
    service, browser = Hook(), SubscribedBrowser()
    async with pushing(service, browser, "Черновик ждёт") as (courier, about):
        await courier.send(courier.write(about)[0])

    scheme, _, told = service.heads[0]["authorization"].partition(" ")
    parts = dict(part.strip().split("=", 1) for part in told.split(","))
    point = urlsafe_b64decode(parts["k"] + "==")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    claims = jwt.decode(parts["t"], key, algorithms=["ES256"], audience="http://127.0.0.1")
    assert (scheme, parts["k"]) == ("vapid", KEY.public)
    assert claims["sub"] == "mailto:rugpt@firm.example"


async def test_several_are_shown_as_one() -> None:
    service, browser = Hook(), SubscribedBrowser()
    async with pushing(service, browser, "Первое", "Второе") as (courier, about):
        await courier.send(courier.write(about)[0])

    shown = json.loads(browser.read(service.bodies[0]))
    assert "2" in shown["title"]
    assert shown["body"] == "Первое\nВторое"
    assert shown["chat_id"] is None


@pytest.mark.parametrize(
    ("status", "kind", "breaks"),
    [
        ("404 Not Found", DeliveryRefused, True),
        ("410 Gone", DeliveryRefused, True),
        ("403 Forbidden", DeliveryRefused, False),
        ("413 Too Large", DeliveryRefused, False),
        ("429 Too Many", DeliveryDelayed, None),
        ("503 Later", DeliveryDelayed, None),
    ],
)
async def test_a_subscription_that_was_taken_back_is_given_up(
    status: str, kind: type[Exception], breaks: bool | None
) -> None:
    service = Hook(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    async with pushing(service, SubscribedBrowser(), "Черновик ждёт") as (courier, about):
        with pytest.raises(kind) as refusal:
            await courier.send(courier.write(about)[0])

    assert getattr(refusal.value, "breaks_channel", None) is breaks


async def test_an_address_of_our_own_network_is_not_pushed_to() -> None:
    courier = PushCourier(KEY, subscriber="rugpt@firm.example", seconds=0.5)
    about = replace(
        note(tiding("Черновик", "Текст"), address="https://127.0.0.1/push"),
        signing_key=json.dumps(SubscribedBrowser().keys).encode(),
    )

    with pytest.raises(DeliveryRefused):
        await courier.send(courier.write(about)[0])
    await courier.close()


def test_an_installation_keeps_its_key_and_no_other_has_it() -> None:
    assert PushKey(b"the secret of one installation").public == KEY.public
    assert PushKey(b"another secret").public != KEY.public
    assert len(urlsafe_b64decode(KEY.public + "=")) == 65
