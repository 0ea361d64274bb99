"""Makers over the test's database, with the rooms introduced to one another."""

import pytest

from engine.core.database import Database
from engine.domains import sessions
from tests.world import World, introduce


@pytest.fixture
def world(database: Database) -> World:
    sessions.listen(database.bus)
    introduce(database.bus)
    return World(database)
