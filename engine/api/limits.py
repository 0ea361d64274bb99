"""What surrounds every request: an id, a line in the log, careful headers, and limits to what is read."""

import asyncio
import re
from collections.abc import Iterable
from time import perf_counter
from typing import Any
from uuid import uuid4

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from engine.api.errors import problem, problem_of
from engine.core.errors import Invalid
from engine.core.logging import log

MOST_BYTES = 1_000_000
DEEPEST = 32
MOST_ITEMS = 10_000
_BODY_SECONDS = 30.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
Headers = Iterable[tuple[bytes, bytes]]


class BadJson(Invalid):
    code = "bad_json"


class RequestFrame:
    """Names each request, logs one line about it, and answers 500 for a bug in whatever is inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope["headers"])
        scope["request_id"] = request_id
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        if scope["type"] == "http":
            await self._answer(scope, receive, send, request_id)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started_at = perf_counter()
        status: int | None = None

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _framed(message.get("headers", ()), request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except Exception:  # noqa: BLE001 - the last place where a bug can be logged once and answered
            log.exception("unhandled_error", method=scope["method"], route=_route(scope))
            if status is None:
                answer = problem(
                    500,
                    "internal_error",
                    "This is a bug of ours. Its traces are in the log under the request id.",
                    request_id=request_id,
                )
                await answer(scope, receive, send_framed)
        finally:
            log.info(
                "request",
                method=scope["method"],
                route=_route(scope),
                status=status,
                ms=round((perf_counter() - started_at) * 1000, 1),
            )


class BodyLimit:
    """Reads a body before anybody works on it: not too long, not too slowly, and only sound JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            await self._refuse(
                scope, receive, send, 422, "bad_request", "An address cannot hold NUL characters."
            )
            return
        length, is_chunked, is_json = _announced(scope["headers"])
        if not length and not is_chunked:
            await self._app(scope, receive, send)
            return
        if length > MOST_BYTES:
            await self._refuse_size(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _read(receive)
        except TimeoutError:
            await self._refuse(scope, receive, send, 408, "body_too_slow", "The body did not arrive in time.")
            return
        if body is None:
            return  # The client has gone.
        if len(body) > MOST_BYTES:
            await self._refuse_size(scope, receive, send)
            return
        if is_json:
            try:
                check_json(body)
            except BadJson as refusal:
                await problem_of(refusal, request_id=scope["request_id"])(scope, receive, send)
                return
        await self._app(scope, _replay(body, receive), send)

    async def _refuse_size(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._refuse(
            scope, receive, send, 413, "body_too_large", f"A body has at most {MOST_BYTES} bytes."
        )

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, code: str, detail: str
    ) -> None:
        # The rest of the body is not read, so the connection is of no more use.
        headers = {"Connection": "close"}
        answer = problem(status, code, detail, request_id=scope["request_id"], headers=headers)
        await answer(scope, receive, send)


def check_json(body: bytes) -> None:
    """Raise BadJson for what is no JSON, holds characters that cannot be stored, or is absurdly built."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # It also refuses halves of surrogate pairs, raw controls, and more than 1024 levels.
        raise BadJson("The body is not sound JSON in UTF-8.") from None
    _check_build(document)
    # A raw NUL is no JSON, so one can only be escaped; the text `\\u0000` is no NUL.
    if b"\\u0000" in body and _has_nul(document):
        raise BadJson("Texts cannot hold NUL characters.")


def _check_build(document: Any) -> None:
    level, depth, items = [document], 0, 0
    while level:
        depth += 1
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                items += len(each)
                below.extend(value for value in each.values() if isinstance(value, (dict, list)))
            elif isinstance(each, list):
                items += len(each)
                below.extend(value for value in each if isinstance(value, (dict, list)))
            if items > MOST_ITEMS:
                raise BadJson(f"A body has at most {MOST_ITEMS} keys and elements.")
        if below and depth >= DEEPEST:
            raise BadJson(f"A body has at most {DEEPEST} levels.")
        level = below


def _has_nul(document: Any) -> bool:
    if isinstance(document, str):
        return "\0" in document
    if isinstance(document, dict):
        return any("\0" in key or _has_nul(value) for key, value in document.items())
    return isinstance(document, list) and any(_has_nul(value) for value in document)


def _announced(headers: Headers) -> tuple[int, bool, bool]:
    length, is_chunked, is_json = 0, False, False
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else MOST_BYTES + 1
        elif name == b"transfer-encoding":
            is_chunked = True
        elif name == b"content-type":
            is_json = b"json" in value.lower()
    return length, is_chunked, is_json


async def _read(receive: Receive) -> bytes | None:
    """Return the body, a piece of it that is too long already, or None when the client has gone."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > MOST_BYTES or not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _request_id(headers: Headers) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return uuid4().hex


def _framed(headers: Headers, request_id: str) -> list[tuple[bytes, bytes]]:
    framed = list(headers)
    names = {name.lower() for name, _ in framed}
    framed.extend(header for header in _HEADERS if header[0] not in names)
    framed.append((b"x-request-id", request_id.encode()))
    return framed


def _route(scope: Scope) -> str | None:
    # The template and not the address: ids are elsewhere in the log, and queries may hold texts.
    return getattr(scope.get("route"), "path", None)
