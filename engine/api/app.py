"""Puts the routes together and the frame around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from engine.api import (
    admin,
    approvals,
    auth,
    calendar,
    calendar_feeds,
    chats,
    health,
    notifications,
    organizations,
    roles,
    runs,
    streams,
    telegram,
    unsubscribe,
    users,
)
from engine.api.caller import Engine
from engine.api.errors import translate_errors
from engine.api.limits import BodyLimit, RequestFrame
from engine.api.live import Hub
from engine.api.views import Problem
from engine.api.web import BUNDLE, WebClient
from engine.core.together import Together
from engine.domains.chats import post_messages

PREFIX = "/api/v1"
FINISH_SECONDS = 0.5  # A post takes milliseconds, and runs in hand are to be handed back in time as well.
ROUTERS: tuple[APIRouter, ...] = (  # Tried in this order: first what is called most.
    chats.router,
    streams.router,
    runs.router,
    approvals.router,
    notifications.router,
    calendar.router,
    calendar_feeds.router,
    auth.router,
    users.router,
    organizations.router,
    roles.router,
    unsubscribe.router,
    admin.router,
    telegram.router,
    health.router,
)
_PROBLEM: dict[str, Any] = {
    "description": "Refused; `code` says why.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def create_app(engine: Engine, *, bundle: Path = BUNDLE) -> FastAPI:
    """Return the HTTP edge of an engine that somebody else starts and stops; it serves the web client too."""
    app = FastAPI(
        title="RuGPT Engine",
        version="1",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # Its page loads scripts from elsewhere.
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Nothing phones home.
        responses={422: _PROBLEM, "default": _PROBLEM},
        lifespan=_live,
    )
    app.state.engine = engine
    app.state.hub = Hub(engine.database)
    post = partial(post_messages, known_roles=engine.roles)
    app.state.posts = Together(engine.database, post, apart=lambda new: new.chat_id)
    app.state.readiness = health.Readiness()
    for router in ROUTERS:
        _add_routes(app, router)
    router = app.router
    router.default = WebClient(bundle, base=engine.settings.web_base, otherwise=router.not_found)
    translate_errors(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(telegram.TelegramGate, office=lambda: engine.office, prefix=PREFIX)
    app.add_middleware(RequestFrame)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI's documented way
    return app


def _add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add a router's routes one by one: an included router is matched at every level for every request.

    That was a quarter of the time that a small request takes here.
    """
    for route in router.routes:
        assert isinstance(route, APIRoute), "a router holds plain routes"
        app.add_api_route(
            PREFIX + route.path,
            route.endpoint,
            methods=sorted(route.methods or ()),
            name=route.name,
            tags=route.tags,
            status_code=route.status_code,
            response_model=route.response_model,
            response_class=route.response_class,
            response_description=route.response_description,
            responses=route.responses,
            summary=route.summary,
            description=route.description,
            dependencies=route.dependencies,
            openapi_extra=route.openapi_extra,
            include_in_schema=route.include_in_schema,
        )


@asynccontextmanager
async def _live(app: FastAPI) -> AsyncIterator[None]:
    """Let streams be followed while the app serves; a session that ends takes its streams with it."""
    hub: Hub = app.state.hub
    hub.start()
    forget = app.state.engine.guard.on_end(hub.end_session)
    try:
        yield
    finally:
        forget()
        await hub.stop()
        await app.state.posts.finish(FINISH_SECONDS)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema()
    assert app.openapi_schema is not None
    return app.openapi_schema
