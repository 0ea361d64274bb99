"""Calls the programs that people name: signed, without redirects, never at an address of our own network.

The other side checks `X-RuGPT-Signature`: `v1=` and the hexadecimal HMAC-SHA256, under the channel's key, of
the timestamp, a dot and the body.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from engine.adapters.outgoing import CALL_SECONDS, Caller
from engine.core.json import dump
from engine.domains.notifications import ChannelKind, Note, Office, Tiding

if TYPE_CHECKING:
    from ssrfguard import Policy


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make: its body is the same at every try."""

    url: str
    delivery_id: str
    key: bytes
    body: bytes


class WebhookCourier:
    """The courier of webhooks."""

    kind: ChannelKind = "webhook"

    def __init__(
        self,
        office: Office,
        *,
        policy: "Policy | None" = None,
        seconds: float = CALL_SECONDS,
        now: Callable[[], float] = time,
    ) -> None:
        self._office = office
        self._caller = Caller(policy=policy, seconds=seconds)
        self._now = now

    def write(self, note: Note) -> list[Call]:
        """Write one call."""
        body = {
            "id": note.delivery_id,
            "type": "test" if note.purpose == "test" else "notifications",
            "organization_id": note.org_id,
            "notifications": [self._item(tiding) for tiding in note.tidings],
        }
        return [Call(note.address, str(note.delivery_id), note.signing_key or b"", dump(body))]

    async def send(self, part: Call) -> str:
        """Call; return the status."""
        return await self._caller.post(part.url, part.body, self._headers(part))

    async def close(self) -> None:
        """Give connections back."""
        await self._caller.close()

    def _item(self, tiding: Tiding) -> dict[str, object]:
        return {
            "id": tiding.notification_id,
            "kind": tiding.kind,
            "headline": tiding.headline,
            "text": tiding.body,
            "is_cut": tiding.is_cut,
            "chat_id": tiding.chat_id,
            "chat_title": tiding.chat_title,
            "message_id": tiding.message_id,
            "subject_id": tiding.subject_id,
            "created_at": tiding.created_at,
            "link": self._office.chat_link(tiding.chat_id),
        }

    def _headers(self, call: Call) -> dict[str, str]:
        moment = str(int(self._now()))
        signature = hmac.digest(call.key, moment.encode() + b"." + call.body, "sha256").hex()
        return {
            "Content-Type": "application/json",
            "User-Agent": "RuGPT",
            "Idempotency-Key": call.delivery_id,
            "X-RuGPT-Timestamp": moment,
            "X-RuGPT-Signature": f"v1={signature}",
        }
