"""Calls the programs that people name: signed, without redirects, never at an address of our own network.

The other side checks `X-RuGPT-Signature`: `v1=` and the hexadecimal HMAC-SHA256, under the channel's key, of
the timestamp, a dot and the body.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING

from engine.core.json import dump
from engine.domains.notifications import (
    ChannelKind,
    DeliveryDelayed,
    DeliveryRefused,
    DeliveryUnknown,
    Note,
    Office,
    Tiding,
)

if TYPE_CHECKING:
    from ssrfguard import Policy
    from ssrfguard.httpx import AsyncClient

CALL_SECONDS = 10.0
LONGEST_WISH_SECONDS = 3600.0
_LATER = {408, 425, 429}


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
        self._policy = policy
        self._seconds = seconds
        self._now = now
        self._client: AsyncClient | None = None

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
        import httpx
        from ssrfguard import SSRFGuardError

        try:
            # The answer's body is nothing to us and is not read.
            async with self._http().stream(
                "POST", part.url, content=part.body, headers=self._headers(part)
            ) as answer:
                status, wish = answer.status_code, answer.headers.get("retry-after")
        except SSRFGuardError as error:
            raise DeliveryRefused(
                f"not an address to call: {type(error).__name__}", breaks_channel=True
            ) from error
        except httpx.ConnectError as error:
            if isinstance(error.__cause__, SSRFGuardError) or isinstance(error.__context__, SSRFGuardError):
                raise DeliveryRefused("not an address to call", breaks_channel=True) from error
            raise DeliveryDelayed(f"cannot be reached: {error}"[:300]) from error
        except (httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise DeliveryDelayed(f"cannot be reached: {type(error).__name__}") from error
        except httpx.InvalidURL as error:
            raise DeliveryRefused("this is no URL", breaks_channel=True) from error
        except (httpx.HTTPError, OSError) as error:
            raise DeliveryUnknown(f"called, and heard nothing: {type(error).__name__}") from error
        return _judged(status, wish)

    async def close(self) -> None:
        """Give connections back."""
        if self._client is not None:
            await self._client.aclose()

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

    def _http(self) -> "AsyncClient":
        if self._client is None:
            from ssrfguard import Policy
            from ssrfguard.httpx import AsyncClient

            self._client = AsyncClient(
                policy=self._policy or Policy(),
                timeout=self._seconds,
                follow_redirects=False,
                trust_env=False,
            )
        return self._client


def _judged(status: int, wish: str | None) -> str:
    """Return a status that means taken, or raise what another one means."""
    if 200 <= status < 300:
        return str(status)
    said = f"the other side answers {status}"
    if status in _LATER or status >= 500:
        raise DeliveryDelayed(said, retry_after_seconds=_seconds(wish))
    raise DeliveryRefused(said, breaks_channel=status == 410)


def _seconds(wish: str | None) -> float | None:
    """Return for how long another side wants quiet, an hour at most."""
    if not wish:
        return None
    try:
        seconds = float(wish) if wish.isascii() and wish.isdigit() else _until(wish)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WISH_SECONDS)


def _until(wish: str) -> float:
    return parsedate_to_datetime(wish).timestamp() - time()
