"""Every way of saying no, as problem+json (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from engine.api.live import TooManyStreams
from engine.core.database import DatabaseAway
from engine.core.errors import Conflict, Forbidden, Invalid, NotFound, Refusal, Unavailable
from engine.domains import runs, sessions

_STATUSES: dict[type[Exception], int] = {
    NotFound: 404,
    Forbidden: 403,
    Conflict: 409,
    Invalid: 422,
    Unavailable: 503,
    sessions.NotAuthenticated: 401,
    sessions.TooManyAttempts: 429,
    runs.TooManyRuns: 429,
    TooManyStreams: 429,
}
_CODES = {404: "route_not_found", 405: "method_not_allowed"}
_MOST_FIELDS = 20


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str,
    details: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an answer that says no, in the one form they all have."""
    body = {
        **(details or {}),
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
    return Response(orjson.dumps(body), status, headers, "application/problem+json")


def problem_of(refusal: Refusal, *, request_id: str) -> Response:
    """Return a refusal as an answer; its kind, or the nearest class we know, decides the status."""
    status = next(_STATUSES[kind] for kind in type(refusal).__mro__ if kind in _STATUSES)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(refusal, DatabaseAway):
        headers["Retry-After"] = "2"
    if isinstance(refusal, (sessions.TooManyAttempts, runs.TooManyRuns)):
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return problem(
        status,
        refusal.code,
        refusal.message,
        request_id=request_id,
        details=refusal.details,
        headers=headers,
    )


def translate_errors(app: FastAPI) -> None:
    """Answer refusals and broken requests; what is left is a bug and becomes a 500."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return problem_of(refusal, request_id=request.scope["request_id"])


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(
        error.status_code,
        _CODES.get(error.status_code, "bad_request"),
        "There is no such route." if error.status_code == 404 else str(error.detail),
        request_id=request.scope["request_id"],
        headers=dict(error.headers or {}),
    )


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What was sent is not repeated: it may be a password.
    fields = [
        {
            "field": ".".join(str(part)[:64] for part in each["loc"]),
            "problem": each["type"],
            "detail": each["msg"][:200],
        }
        for each in error.errors()[:_MOST_FIELDS]
    ]
    return problem(
        422,
        "invalid_request",
        "The request does not have the shape that this route wants.",
        request_id=request.scope["request_id"],
        details={"errors": fields},
    )
