"""What no route takes, and what every answer carries."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from engine.api import create_app
from engine.api.limits import MOST_BYTES
from tests.edge.conftest import Parts
from tests.world import World

Api = httpx2.AsyncClient
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"username": NaN}',
        b'{"username": "\\ud800", "password": "x"}',
        b'{"username": "\\udc00\\ud800", "password": "x"}',
        b'{"username": "a\\u0000b", "password": "x"}',
        b'{"a\\u0000b": "x"}',
        b'{"username": "a\x00b"}',
        b'{"username": "\xff\xfe"}',
        b"[" * 500_000,
        b"[" * 2_000 + b"]" * 2_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" + b"1," * 20_000 + b"1]",
        b"{" + b",".join(b'"k%d":1' % n for n in range(20_000)) + b"}",
        b'"just a text"',
        b"null",
        b"7",
    ],
)
async def test_a_body_that_is_not_sound_is_refused(api: Api, body: bytes) -> None:
    answer = await api.post("/auth/login", content=body, headers=JSON)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] in ("bad_json", "invalid_request")


async def test_a_text_that_only_looks_like_a_nul_is_a_text(api: Api, world: World) -> None:
    headers = await world.headers((await world.organization()).admin)
    body = b'{"display_name": "back\\\\u0000slash", "username": "bob", "email": "bob@example.com"}'

    answer = await api.post("/users", content=body, headers={**headers, **JSON})

    assert answer.status_code == 201
    assert answer.json()["user"]["display_name"] == "back\\u0000slash"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream"])
async def test_a_body_that_is_too_long_is_refused_before_it_is_read(api: Api, content_type: str) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 65_536

    announced = await api.post(
        "/auth/login", content=b"x" * (MOST_BYTES + 1), headers={"Content-Type": content_type}
    )
    async with asyncio.timeout(10):
        chunked = await api.post("/auth/login", content=endless(), headers={"Content-Type": content_type})

    assert announced.status_code == chunked.status_code == 413
    assert announced.json()["code"] == chunked.json()["code"] == "body_too_large"
    assert announced.headers["Connection"] == "close"
    assert read <= 17


async def test_a_body_that_announces_too_much_is_refused_unread(parts: Parts) -> None:
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        raise AssertionError("nothing is to be read")

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/api/v1/auth/login",
        "query_string": b"",
        "headers": [(b"content-length", b"1000001"), (b"content-type", b"application/json")],
    }
    await create_app(parts)(scope, receive, send)  # type: ignore[arg-type]

    assert sent[0]["status"] == 413


async def test_a_long_body_within_the_limit_arrives_whole(api: Api, world: World) -> None:
    headers = await world.headers((await world.organization()).admin)

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"roles": {"lawyer": {"instruction": "'
        for _ in range(100):
            yield "я".encode() * 80
        yield b'"}}}'

    answer = await api.patch("/organizations/current", content=pieces(), headers={**headers, **JSON})

    assert answer.status_code == 200
    assert answer.json()["roles"]["lawyer"]["instruction"] == "я" * 8000


async def test_a_refused_shape_names_the_field_and_repeats_no_value(api: Api) -> None:
    body = {"username": "ann", "password": ["hunter2hunter2"], "organisation": "typo-secret"}

    answer = await api.post("/auth/login", json=body)

    assert answer.json()["code"] == "invalid_request"
    assert {each["field"] for each in answer.json()["errors"]} == {"body.password", "body.organisation"}
    assert "hunter2" not in answer.text
    assert "typo-secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "route_not_found"),
        ("GET", "/users/", 404, "route_not_found"),
        ("DELETE", "/auth/login", 405, "method_not_allowed"),
        ("PUT", "/users", 405, "method_not_allowed"),
        ("GET", "/users?cursor=%00", 422, "bad_request"),
        ("GET", "/users/%00", 422, "bad_request"),
    ],
)
async def test_a_wrong_address_is_a_problem_too(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_sane_request_id_is_kept_and_another_replaced(api: Api) -> None:
    kept = await api.get("/auth/me", headers={"X-Request-ID": "trace-1234.5678"})
    replaced = [
        await api.get("/auth/me", headers={"X-Request-ID": bad}) for bad in ("", "a b c d e f g", "x" * 200)
    ]

    assert kept.headers["X-Request-ID"] == kept.json()["request_id"] == "trace-1234.5678"
    assert all(len(answer.headers["X-Request-ID"]) == 32 for answer in replaced)


async def test_every_answer_carries_careful_headers(api: Api) -> None:
    answer = await api.get("/health")

    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_a_bug_is_a_500_that_tells_nothing(
    api: Api, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("the secret of the bug")

    monkeypatch.setattr(parts, "model_state", broken)
    answer = await api.get("/health/ready")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


async def test_readiness_says_what_is_missing(
    api: Api, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.api.health.KEPT_SECONDS", 0)
    ready = await api.get("/health/ready")
    parts.missing = ("0002_pre_next",)
    behind = await api.get("/health/ready")
    parts.missing, parts.model_is_ready = (), False
    speechless = await api.get("/health/ready")

    assert (ready.status_code, ready.json()["database"]) == (200, "ok")
    assert (behind.status_code, behind.json()["database"]) == (503, "behind")
    assert (speechless.status_code, speechless.json()["ready"]) == (503, False)


async def test_a_database_that_is_away_is_a_503(api: Api, world: World, parts: Parts) -> None:
    headers = await world.headers((await world.organization()).admin)
    await parts.database.close()

    answer = await api.get("/auth/me", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


async def test_the_openapi_file_declares_problems_and_who_must_sign_in(api: Api) -> None:
    document = (await api.get("/openapi.json")).json()

    me = document["paths"]["/api/v1/auth/me"]["get"]
    assert me["security"] == [{"access_token": []}]
    assert "application/problem+json" in me["responses"]["default"]["content"]
    login = document["paths"]["/api/v1/auth/login"]["post"]
    assert "security" not in login
    assert list(login["responses"]["422"]["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert document["components"]["schemas"]["Problem"]["required"]
