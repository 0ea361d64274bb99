"""Whether the engine is alive, and whether it can work."""

import asyncio
from typing import Any, Literal

import asyncpg
from fastapi import APIRouter, Request, Response

from engine.api.caller import Engine, engine_of
from engine.api.views import View
from engine.core.errors import Refusal
from engine.core.logging import log

router = APIRouter(prefix="/health", tags=["health"])
_DATABASE_SECONDS = 2.0


class HealthView(View):
    status: Literal["ok"] = "ok"


class ReadyView(View):
    ready: bool
    database: Literal["ok", "unreachable", "behind"]
    model: dict[str, Any]


@router.get("")
async def health() -> HealthView:
    """Answer as long as the process lives; nothing is asked."""
    return HealthView()


@router.get("/ready", responses={503: {"model": ReadyView, "description": "Not ready, and why."}})
async def ready(request: Request, response: Response) -> ReadyView:
    """Tell whether requests can be served: the database, its schema, and which model answers."""
    engine = engine_of(request)
    database = await _database_state(engine)
    model = engine.model_state()
    is_ready = database == "ok" and bool(model.get("ready"))
    response.status_code = 200 if is_ready else 503
    return ReadyView(ready=is_ready, database=database, model=model)


async def _database_state(engine: Engine) -> Literal["ok", "unreachable", "behind"]:
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
