"""What has outlived its use goes, however much of it there is."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import asyncpg
import pytest
from structlog.testing import capture_logs

from engine import bootstrap
from engine.core.database import Database
from tests.world import World


async def test_all_that_is_old_goes_in_one_round_and_the_rest_stays(
    world: World, database: Database, database_url: str
) -> None:
    ann = (await world.organization()).admin
    for _ in range(3):
        await world.sign_in(ann)
    owner = await asyncpg.connect(database_url)
    await owner.execute(
        "INSERT INTO events (org_id, no, channel, kind, data, at)"
        " SELECT $1, 1000 + n, gen_random_uuid(), 'x', '{}', now() - interval '50 hours'"
        "   FROM generate_series(1, 11000) n",
        ann.org_id,
    )
    kept = await owner.fetchval("SELECT count(*) FROM events WHERE at > now() - interval '1 hour'")

    with patch.object(bootstrap, "BETWEEN_BATCHES_SECONDS", 0.001):
        async with asyncio.timeout(30):
            await bootstrap.forget_what_is_old(database, keep_hours=48)

    left = await owner.fetchval("SELECT count(*) FROM events")
    sessions_left = await owner.fetchval("SELECT count(*) FROM sessions")
    await owner.close()
    assert (left, sessions_left) == (kept, 3)


async def test_a_database_that_is_away_is_told_in_a_line_and_the_house_is_kept_again(
    database: Database,
) -> None:
    engine = cast(Any, SimpleNamespace(database=database, settings=SimpleNamespace(events_keep_hours=48)))
    await database.close()

    with (
        capture_logs() as heard,
        patch.object(bootstrap, "HOUSEKEEPING_SECONDS", 0.001),
        pytest.raises(TimeoutError),
    ):
        await asyncio.wait_for(bootstrap.Engine.keep_house(engine), 0.2)

    assert [line["event"] for line in heard].count("housekeeping_waits_for_the_database") >= 2
    assert {line["log_level"] for line in heard} <= {"warning", "debug"}
