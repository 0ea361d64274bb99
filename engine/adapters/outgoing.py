"""Calls addresses that people name: without redirects, and never at an address of our own network."""

from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING

from engine.domains.notifications import DeliveryDelayed, DeliveryRefused, DeliveryUnknown

if TYPE_CHECKING:
    from ssrfguard import Policy
    from ssrfguard.httpx import AsyncClient

CALL_SECONDS = 10.0
LONGEST_WISH_SECONDS = 3600.0
_LATER = {408, 425, 429}


class Caller:
    """A client for calls; its refusals are the couriers'."""

    def __init__(self, *, policy: "Policy | None" = None, seconds: float = CALL_SECONDS) -> None:
        self._policy = policy
        self._seconds = seconds
        self._client: AsyncClient | None = None

    async def post(
        self, url: str, body: bytes, headers: dict[str, str], *, gone: frozenset[int] = frozenset({410})
    ) -> str:
        """Call and return the status of a success; the statuses in `gone` break the channel for good."""
        import httpx
        from ssrfguard import SSRFGuardError

        try:
            # The answer's body is nothing to us and is not read.
            async with self._http().stream("POST", url, content=body, headers=headers) as answer:
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
        return _judged(status, wish, gone)

    async def close(self) -> None:
        """Give connections back."""
        if self._client is not None:
            await self._client.aclose()

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


def _judged(status: int, wish: str | None, gone: frozenset[int]) -> str:
    """Return a status that means taken, or raise what another one means."""
    if 200 <= status < 300:
        return str(status)
    said = f"the other side answers {status}"
    if status in _LATER or status >= 500:
        raise DeliveryDelayed(said, retry_after_seconds=_seconds(wish))
    raise DeliveryRefused(said, breaks_channel=status in gone)


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
