"""The HTTP edge over the test's database, driven in process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from engine.api import create_app
from engine.core.database import Database
from engine.core.settings import Settings
from engine.domains import sessions
from engine.domains.notifications import Office
from engine.domains.organizations import Registration
from engine.roles import Catalogue, load_roles
from engine.worker import Worker
from tests.edge.serving import Client, Stage, served, talking_model
from tests.postal import office
from tests.world import ACCESS_SECONDS, Firm, World, introduce

ROOT = Path(__file__).parents[2]


@dataclass
class Parts:
    """What the edge asks of an engine, with nothing running behind it."""

    settings: Settings
    database: Database
    entrance: sessions.Entrance
    registration: Registration
    guard: sessions.SessionGuard
    roles: Catalogue
    office: Office
    model_is_ready: bool = True
    missing: tuple[str, ...] = ()

    def model_state(self) -> dict[str, Any]:
        return {"ready": self.model_is_ready, "model": "embedded:scripted"}

    async def missing_migrations(self) -> list[str]:
        return list(self.missing)


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """Log as the engine does: to draw every local variable of a traceback takes ten seconds."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(database: Database) -> World:
    sessions.listen(database.bus)
    introduce(database.bus)
    return World(database)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load_roles(ROOT / "engine" / "roles", ROOT / "prompts")


@pytest.fixture
async def parts(database: Database, world: World, catalogue: Catalogue) -> AsyncIterator[Parts]:
    guard = sessions.SessionGuard(database, lifetime_seconds=ACCESS_SECONDS, every_seconds=0.05)
    await guard.start()
    yield Parts(
        settings=Settings.model_validate({}),
        database=database,
        entrance=world.entrance,
        registration=Registration(database, "first"),
        guard=guard,
        roles=catalogue,
        office=office("email", "telegram"),
    )
    await guard.stop()


@pytest.fixture
async def api(parts: Parts) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=create_app(parts), client=("192.0.2.1", 40000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine/api/v1") as client:
        yield client


@pytest.fixture
async def stage(parts: Parts) -> AsyncIterator[Stage]:
    """The edge on a port, with a worker whose model says thirty words unless told otherwise."""
    app, model = create_app(parts), talking_model()
    worker = Worker(parts.settings, parts.database, parts.roles, lambda: model)
    working = asyncio.create_task(worker.run_until_stopped())
    try:
        async with (
            served(app) as port,
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http,
        ):
            made = Stage(port, app.state.hub, World(parts.database), worker, model, http)
            yield made
            for stream in made.streams:
                stream.close()
    finally:
        await worker.stop()
        await asyncio.gather(working, return_exceptions=True)


@pytest.fixture
async def firm(stage: Stage) -> Firm:
    return await stage.world.organization()


@pytest.fixture
async def ann(stage: Stage, firm: Firm) -> Client:
    return await stage.enter(firm.admin)


@pytest.fixture
async def ivan(stage: Stage, firm: Firm) -> Client:
    return await stage.enter(await stage.world.user(firm, "ivan"))
