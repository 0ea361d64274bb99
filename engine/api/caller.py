"""Who calls: read from the access token, without a query."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from uuid import UUID

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from structlog.contextvars import bind_contextvars

from engine.core.database import Database, Transaction
from engine.core.settings import Settings
from engine.core.together import Together
from engine.domains import sessions
from engine.domains.chats import NewMessage, Posted
from engine.domains.notifications import Office
from engine.domains.organizations import Registration
from engine.domains.users import Actor
from engine.roles import Catalogue

if TYPE_CHECKING:
    from engine.api.live import Hub

BROWSER_HEADER = "X-RuGPT-Client"  # `web` from our own client


class Engine(Protocol):
    """The parts that this edge works with; `bootstrap.py` builds them."""

    @property
    def settings(self) -> Settings: ...

    @property
    def database(self) -> Database: ...

    @property
    def entrance(self) -> sessions.Entrance: ...

    @property
    def registration(self) -> Registration: ...

    @property
    def guard(self) -> sessions.SessionGuard: ...

    @property
    def roles(self) -> Catalogue: ...

    @property
    def office(self) -> Office: ...

    def model_state(self) -> dict[str, Any]:
        """Return which model answers and whether it is ready, as `{"ready": bool, …}`."""

    async def missing_migrations(self) -> list[str]:
        """Return the names of migrations that this release wants and the database has not seen."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in person, as their token says, and the way to their organization's rows."""

    actor: Actor
    session_id: UUID
    database: Database
    request: Request

    @property
    def engine(self) -> Engine:
        return engine_of(self.request)

    @property
    def hub(self) -> "Hub":
        """Return where live streams are followed."""
        hub: Hub = self.request.app.state.hub
        return hub

    @property
    def posts(self) -> Together[NewMessage, Posted]:
        """Return where messages are posted, those of one moment together."""
        posts: Together[NewMessage, Posted] = self.request.app.state.posts
        return posts

    @property
    def address(self) -> str:
        return address_of(self.request)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that sees the caller's organization."""
        return self.database.as_organization(self.actor.org_id)


class _AccessToken(SecurityBase):
    """Turns the Authorization header into a Caller; also says so in the OpenAPI file."""

    def __init__(self, *, lets_newcomers_in: bool = False) -> None:
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = "access_token"
        self._lets_newcomers_in = lets_newcomers_in

    async def __call__(self, request: Request) -> Caller:
        engine = engine_of(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise sessions.NotAuthenticated
        claims = engine.entrance.access_tokens.read(token.strip())
        await engine.guard.check(org_id=claims.org_id, session_id=claims.session_id)
        bind_contextvars(org_id=str(claims.org_id), user_id=str(claims.user_id))
        if claims.must_change_password and not self._lets_newcomers_in:
            raise sessions.PasswordChangeRequired
        actor = Actor(claims.org_id, claims.user_id, claims.role)
        return Caller(actor, claims.session_id, engine.database, request)


class _MaybeAccessToken(SecurityBase):
    """The same, but from our web client the token may be missing or too old."""

    def __init__(self, *, lets_newcomers_in: bool) -> None:
        self._access_token = _AccessToken(lets_newcomers_in=lets_newcomers_in)
        self.model = self._access_token.model
        self.scheme_name = self._access_token.scheme_name

    async def __call__(self, request: Request) -> Caller | None:
        try:
            return await self._access_token(request)
        except sessions.NotAuthenticated:
            if request.headers.get(BROWSER_HEADER) == "web":
                return None
            raise


Authenticated = Annotated[Caller, Depends(_AccessToken())]
# Also those who have yet to change a temporary password: for changing it, and for leaving.
Newcomer = Annotated[Caller, Depends(_AccessToken(lets_newcomers_in=True))]
# For leaving: a browser may do so by its cookie alone.
MaybeNewcomer = Annotated[Caller | None, Depends(_MaybeAccessToken(lets_newcomers_in=True))]


def engine_of(request: Request) -> Engine:
    """Return the engine that this app was made for."""
    engine: Engine = request.app.state.engine
    return engine


def address_of(request: Request) -> str:
    """Return the client's address; the server has already asked trusted proxies for it."""
    return request.client.host if request.client else "unknown"
