"""Pushes notes to browsers: encrypted for the one browser (RFC 8291), signed as this installation (RFC 8292).

The browser's maker carries them and reads nothing: it learns that something was sent to one of its browsers.
"""

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from engine.adapters.outgoing import CALL_SECONDS, Caller
from engine.core.json import dump
from engine.core.secret import derive
from engine.domains.notifications import ChannelKind, DeliveryRefused, Note, say

if TYPE_CHECKING:
    from ssrfguard import Policy
    from webpush import WebPush

KEPT_SECONDS = 86_400  # by the browser's maker, for a browser that is away
LONGEST_TITLE, LONGEST_BODY = 200, 300  # 4 KB is all that travels
_ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class PushKey:
    """This installation's own key, by which browsers know who pushes; derived from its secret."""

    def __init__(self, secret: bytes) -> None:
        number = int.from_bytes(derive(secret, "web-push"), "big") % (_ORDER_OF_P256 - 1) + 1
        self._key = ec.derive_private_key(number, ec.SECP256R1())

    @property
    def public(self) -> str:
        """Return what a browser is given to subscribe with."""
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return urlsafe_b64encode(point).rstrip(b"=").decode()

    def pusher(self, subscriber: str) -> "WebPush":
        """Return what encrypts and signs; `subscriber` is the e-mail address of whoever answers for it."""
        from webpush import WebPush

        return WebPush(
            self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            subscriber=subscriber,
            ttl=KEPT_SECONDS,
        )


@dataclass(frozen=True, slots=True)
class Push:
    """What one browser is to show."""

    endpoint: str
    keys: dict[str, str]
    shown: bytes


class PushCourier:
    """The courier of browsers."""

    kind: ChannelKind = "web_push"

    def __init__(
        self, key: PushKey, *, subscriber: str, policy: "Policy | None" = None, seconds: float = CALL_SECONDS
    ) -> None:
        self._key = key
        self._subscriber = subscriber
        self._caller = Caller(policy=policy, seconds=seconds)
        self._pusher: WebPush | None = None

    def write(self, note: Note) -> list[Push]:
        """Write what is shown: a line, the beginning of the text, and which chat it leads to."""
        first = note.tidings[0] if note.tidings else None
        title, body = say(note.locale, "test"), say(note.locale, "test_body")
        if first is not None:
            title, body = first.headline, first.body
        if len(note.tidings) > 1:
            title = say(note.locale, "digest", {"count": len(note.tidings)})
            body = "\n".join(tiding.headline for tiding in note.tidings)
        shown = {
            "title": _cut(title, LONGEST_TITLE),
            "body": _cut(body, LONGEST_BODY),
            "chat_id": first.chat_id if first is not None and len(note.tidings) == 1 else None,
            "message_id": first.message_id if first is not None and len(note.tidings) == 1 else None,
            "tag": note.delivery_id,
        }
        return [Push(note.address, json.loads(note.signing_key or b"{}"), dump(shown))]

    async def send(self, part: Push) -> str:
        """Push; return the status."""
        from webpush.types import WebPushSubscription

        if self._pusher is None:
            self._pusher = self._key.pusher(self._subscriber)
        try:
            subscription = WebPushSubscription.model_validate({"endpoint": part.endpoint, "keys": part.keys})
            sealed = self._pusher.get(part.shown, subscription)
        except ValueError as error:
            raise DeliveryRefused("this is no browser's subscription", breaks_channel=True) from error
        headers = {**sealed.headers, "content-type": "application/octet-stream", "urgency": "normal"}
        # 404 and 410: the browser has taken its subscription back.
        return await self._caller.post(part.endpoint, sealed.encrypted, headers, gone=frozenset({404, 410}))

    async def close(self) -> None:
        """Give connections back."""
        await self._caller.close()


def _cut(text: str, longest: int) -> str:
    line = " ".join(text.split(" "))
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
