"""The strict fake model server of a test, and clients that are closed after it."""

from collections.abc import AsyncIterator

import pytest

from .clients import OPEN
from .fake_models import FakeModels, serving


@pytest.fixture
async def fake() -> AsyncIterator[FakeModels]:
    """The server that a client asks."""
    async with serving(FakeModels()) as server:
        yield server


@pytest.fixture(autouse=True)
async def _nothing_is_left_open() -> AsyncIterator[None]:
    yield
    while OPEN:
        await OPEN.pop().close()
