"""Engine processes over the test's own database, with the planned model behind them."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.process.engine import SECRET, EngineProcess, Follower, Person, running
from tests.process.model import PlannedModel, answering, slowly

StartEngine = Callable[..., Awaitable[EngineProcess]]
Follow = Callable[[Person, str], Awaitable[Follower]]


@pytest.fixture
async def model() -> AsyncIterator[PlannedModel]:
    """The model server of this test; it writes 40 words in two seconds unless told otherwise."""
    async with answering(slowly()) as made:
        yield made


@pytest.fixture
def settings(model: PlannedModel, database_url: str, application_url: str) -> dict[str, str]:
    """What every engine of this test is told; a short lease, so that take-overs are quick."""
    return {
        **model.settings,
        "RUGPT_DATABASE_URL": application_url,
        "RUGPT_DATABASE_OWNER_URL": database_url,
        "RUGPT_SECRET_KEY": SECRET,
        "RUGPT_LEASE_SECONDS": "1.5",
    }


@pytest.fixture
async def start_engine(settings: dict[str, str]) -> AsyncIterator[StartEngine]:
    """Start engines on the test's database; those that still run after the test are killed."""
    with tempfile.TemporaryDirectory(prefix="rugpt-process-") as folder:
        async with AsyncExitStack() as engines:

            async def begin(**changes: Any) -> EngineProcess:
                own = {name: changes.pop(name) for name in ("crash_at", "is_ready") if name in changes}
                return await engines.enter_async_context(
                    running(Path(folder), {**settings, **changes}, **own)
                )

            yield begin


@pytest.fixture
async def follow() -> AsyncIterator[Follow]:
    """Begin to follow a chat; the connections are closed after the test."""
    followers: list[Follower] = []

    async def begin(person: Person, chat_id: str) -> Follower:
        follower = Follower(person, chat_id)
        followers.append(follower)
        await follower.begin()
        return follower

    yield begin
    for follower in followers:
        follower.cut()
