"""The engine's API as the terminal client calls it: tokens live in memory and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from engine.adapters.models.loopback import is_loopback
from engine.core.errors import Unavailable

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
QUIET_SECONDS = 45.0  # Three heartbeats of a stream.


class EngineAway(Unavailable):
    """The engine that was to be talked to does not answer."""

    code = "engine_away"


class Refused(Exception):
    """The engine said no; `code` is stable, `detail` is for people."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", status))
        self.detail = str(problem.get("detail", f"HTTP {status}"))
        self.problem = problem
        super().__init__(self.detail)


class SignedOut(Exception):
    """The session is over: deactivated, ended elsewhere, or too old."""


class Api:
    """A session with one engine."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        host = httpx.URL(self.url).host
        self.is_private = is_loopback(host) or self.url.startswith("https://")
        self.user: dict[str, Any] = {}
        self.organization: dict[str, Any] = {}
        self._access = ""
        self._refresh = ""
        self._renewal = asyncio.Lock()
        self._client = httpx.AsyncClient(
            base_url=f"{self.url}/api/v1",
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not is_loopback(host),  # No proxy stands before this machine itself.
            transport=transport,
        )

    async def close(self) -> None:
        """Let the connections go; the session itself stays until `sign_out`."""
        await self._client.aclose()

    async def sign_in(self, *, login: str, password: str, organization: str | None) -> bool:
        """Open a session; True when the password is a temporary one and must be changed first."""
        name = "email" if "@" in login else "username"
        body = {name: login, "password": password}
        if organization is not None:
            body["organization"] = organization
        return self._keep(await self.call("POST", "/auth/login", body))

    async def change_password(self, *, current: str, new: str) -> None:
        """Change the password; the session goes on."""
        body = {"current_password": current, "new_password": new}
        self._keep(await self.call("POST", "/auth/password", body))

    async def sign_out(self) -> None:
        """End the session here and at the engine, if it still answers."""
        if self._access:
            with suppress(EngineAway, Refused, SignedOut):  # It ends by itself then.
                await self.call("POST", "/auth/logout")
            self._access = self._refresh = ""

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer's JSON; raise Refused, SignedOut or EngineAway."""
        answer = await self._send(method, path, body)
        if answer.status_code == 401 and self._access:
            await self._renew()
            answer = await self._send(method, path, body)
        if answer.status_code == 401 and self._access:
            raise SignedOut
        if answer.is_error:
            raise Refused(answer.status_code, _problem(answer))
        return answer.json() if answer.content else None

    async def all_of(self, path: str) -> list[dict[str, Any]]:
        """Return every item of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self.call("GET", f"{path}?limit=100" + (f"&cursor={cursor}" if cursor else ""))
            items += page["items"]
            cursor = page["next_cursor"]
        return items

    @asynccontextmanager
    async def stream(self, path: str, *, after: str | None) -> AsyncIterator[AsyncIterator[str]]:
        """Open a stream of events and give its lines; raises as `call` does."""
        async with self._open(path, after) as answer:
            if answer.status_code != 401:
                yield await _lines(answer)
                return
        await self._renew()
        async with self._open(path, after) as answer:
            if answer.status_code == 401:
                raise SignedOut
            yield await _lines(answer)

    @asynccontextmanager
    async def _open(self, path: str, after: str | None) -> AsyncIterator[httpx.Response]:
        headers = {"Accept": "text/event-stream", **self._headers()}
        if after is not None:
            headers["Last-Event-ID"] = after
        timeout = httpx.Timeout(QUIET_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with self._client.stream("GET", path, headers=headers, timeout=timeout) as answer:
                yield answer
        except httpx.TransportError as error:
            raise EngineAway(self._away(error)) from error

    async def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, json=body, headers=self._headers())
        except httpx.TransportError as error:
            raise EngineAway(self._away(error)) from error
        except httpx.InvalidURL as error:
            raise EngineAway(f"{self.url} is not an address: {error}") from error

    async def _renew(self) -> None:
        """Exchange the refresh token; whoever comes while that happens gets its outcome."""
        stale = self._access
        async with self._renewal:
            if self._access != stale:
                return
            answer = await self._send("POST", "/auth/refresh", {"refresh_token": self._refresh})
            if answer.is_error:
                if answer.status_code in (401, 403):
                    raise SignedOut
                raise Refused(answer.status_code, _problem(answer))
            self._keep(answer.json())

    def _keep(self, session: dict[str, Any]) -> bool:
        self._access, self._refresh = session["access_token"], session["refresh_token"]
        self.user, self.organization = session["user"], session["organization"]
        return bool(session["password_change_required"])

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._access}"} if self._access else {}

    def _away(self, error: httpx.TransportError) -> str:
        return f"No engine answers at {self.url} ({str(error) or type(error).__name__}). Is it started?"


async def _lines(answer: httpx.Response) -> AsyncIterator[str]:
    if answer.is_error:
        await answer.aread()
        raise Refused(answer.status_code, _problem(answer))
    return answer.aiter_lines()


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": f"HTTP {answer.status_code}"}
