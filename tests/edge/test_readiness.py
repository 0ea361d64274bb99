"""What `/health/ready` tells, to whom, and what asking costs."""

import asyncio
import shutil
from typing import Any, NamedTuple

import httpx2
import pytest

from engine.api import create_app
from tests.edge.conftest import Parts

INSIDE = {
    "ready": True,
    "provider": "ollama",
    "name": "qwen",
    "reason": "10.1.2.3 answers",
    "detail": "10.1.2.3",
}


class Usage(NamedTuple):
    total: int
    used: int
    free: int


async def ask(parts: Parts, address: str, **headers: str) -> tuple[int, dict[str, Any]]:
    transport = httpx2.ASGITransport(app=create_app(parts), client=(address, 40000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine/api/v1") as client:
        answer = await client.get("/health/ready", headers=headers)
    return answer.status_code, answer.json()


async def test_only_this_machine_is_told_where_the_model_is(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "model_state", lambda: INSIDE)

    _, near = await ask(parts, "127.0.0.1")
    _, far = await ask(parts, "192.0.2.1")
    _, behind_a_proxy = await ask(parts, "127.0.0.1", **{"X-Forwarded-For": "192.0.2.1"})

    assert near["model"] == INSIDE
    assert far["model"] == behind_a_proxy["model"] == {"ready": True, "provider": "ollama", "name": "qwen"}


@pytest.mark.parametrize(
    ("free", "disk", "status"),
    [(2_000_000_000, "ok", 200), (500_000_000, "low", 200), (50_000_000, "full", 503)],
)
async def test_a_full_disk_is_not_ready(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, free: int, disk: str, status: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))

    assert await ask(parts, "192.0.2.1") == (
        status,
        {"ready": status == 200, "database": "ok", "disk": disk, "model": {"ready": True}},
    )


async def test_many_questions_at_once_are_one_question_to_the_database(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def missing() -> list[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return []

    monkeypatch.setattr(parts, "missing_migrations", missing)
    transport = httpx2.ASGITransport(app=create_app(parts))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine/api/v1") as client:
        answers = await asyncio.gather(*(client.get("/health/ready") for _ in range(20)))

    assert [answer.status_code for answer in answers] == [200] * 20
    assert asked == 1
