"""Whether the engine is alive, and whether it can work."""

import asyncio
import shutil
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import asyncpg
from fastapi import APIRouter, Request, Response

from engine.api.caller import Engine, address_of, engine_of
from engine.api.views import View
from engine.core.errors import Refusal
from engine.core.logging import log

router = APIRouter(prefix="/health", tags=["health"])
KEPT_SECONDS = 1.0
LOW_BYTES = 1_000_000_000
FULL_BYTES = 100_000_000
_DATABASE_SECONDS = 2.0
# A model's reason and detail may name addresses of the inside.
_TOLD_TO_ALL = ("ready", "provider", "name")

DatabaseState = Literal["ok", "unreachable", "behind"]
DiskState = Literal["ok", "low", "full"]


class HealthView(View):
    status: Literal["ok"] = "ok"


class ReadyView(View):
    ready: bool
    database: DatabaseState
    disk: DiskState
    model: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ground:
    """What the engine stands on."""

    database: DatabaseState
    disk: DiskState


class Readiness:
    """What is known of the database and the disk; asked once a second, however many want to know."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._known: Ground | None = None
        self._known_at = 0.0

    async def ground(self, engine: Engine) -> Ground:
        """Return an answer that is not older than KEPT_SECONDS."""
        async with self._turn:
            if self._known is None or monotonic() - self._known_at >= KEPT_SECONDS:
                disk = _disk_state(engine.settings.data_dir)
                self._known = Ground(await _database_state(engine), disk)
                self._known_at = monotonic()
            return self._known


@router.get("")
async def health() -> HealthView:
    """Answer as long as the process lives; nothing is asked."""
    return HealthView()


@router.get("/ready", responses={503: {"model": ReadyView, "description": "Not ready, and why."}})
async def ready(request: Request, response: Response) -> ReadyView:
    """Tell whether requests can be served: the database, its schema, the disk, and which model answers.

    Why that model, and what keeps it away, is told to callers on the same machine only.
    """
    engine = engine_of(request)
    readiness: Readiness = request.app.state.readiness
    ground = await readiness.ground(engine)
    model = engine.model_state()
    is_ready = ground.database == "ok" and ground.disk != "full" and bool(model.get("ready"))
    response.status_code = 200 if is_ready else 503
    if not _is_near(request):
        model = {name: value for name, value in model.items() if name in _TOLD_TO_ALL}
    return ReadyView(ready=is_ready, database=ground.database, disk=ground.disk, model=model)


def _is_near(request: Request) -> bool:
    """Whether the caller is on this machine, and not merely a proxy of somebody further away."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    try:
        return ip_address(address_of(request)).is_loopback
    except ValueError:
        return False


async def _database_state(engine: Engine) -> DatabaseState:
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            missing = await engine.missing_migrations()
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        Refusal,
    ) as error:  # TimeoutError is an OSError
        log.warning("database_not_ready", error=repr(error))
        return "unreachable"
    return "behind" if missing else "ok"


def _disk_state(folder: Path) -> DiskState:
    place = folder.absolute()
    while not place.exists():  # With a database elsewhere, nothing may have made the folder yet.
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < FULL_BYTES:
        return "full"
    return "low" if free < LOW_BYTES else "ok"
