"""The calendar for calendar programs: a feed under a secret address, and reading what they write."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from engine.api.caller import Authenticated, engine_of
from engine.api.views import Body, View
from engine.domains import calendar, users

router = APIRouter(prefix="/calendar", tags=["calendar"])


class FeedView(View):
    """A secret address, shown once; whoever has it reads what its owner may see."""

    path: str
    url: str | None  # null where RUGPT_PUBLIC_URL does not say how people reach the engine


class ImportFile(Body):
    """What a calendar program wrote; `chat_id` is where its events will be said."""

    ics: Annotated[str, Field(min_length=1, max_length=900_000)]
    chat_id: UUID | None = None


class RefusedView(View):
    """Something in a file that was not kept, and why."""

    title: str
    reason: str


class ImportedView(View):
    """What became of a file."""

    created: int
    updated: int
    refused: list[RefusedView]


@router.post("/feed", status_code=201)
async def open_feed(caller: Authenticated) -> FeedView:
    """Give my calendar a new secret address for calendar programs; the old one ends."""
    async with caller.transaction() as tx:
        token = await calendar.open_feed(tx, caller.actor)
    settings = caller.engine.settings
    path = f"{settings.web_base}/calendar/feeds/{token}.ics"
    return FeedView(path=path, url=f"{settings.public_url}{path}" if settings.public_url else None)


@router.delete("/feed", status_code=204)
async def close_feed(caller: Authenticated) -> None:
    """Take the address of my calendar away."""
    async with caller.transaction() as tx:
        await calendar.close_feed(tx, caller.actor)


@router.get("/feeds/{token}.ics", response_class=Response)
async def read_feed(
    token: Annotated[str, Path(min_length=20, max_length=100, pattern="^[A-Za-z0-9_-]+$")], request: Request
) -> Response:
    """Read a calendar by its secret address, as iCalendar."""
    database = engine_of(request).database
    reader = await calendar.feed_reader(database, token)
    async with database.as_organization(reader.org_id) as tx:
        written = await calendar.write_feed(tx, reader, now=datetime.now(UTC))
    return Response(written, media_type="text/calendar; charset=utf-8")


@router.post("/import")
async def import_file(file: ImportFile, caller: Authenticated) -> ImportedView:
    """Plan what a calendar program wrote; what was imported before, by its UID, is changed."""
    async with caller.transaction() as tx:
        user = await users.get_user(tx, user_id=caller.actor.user_id)
        imported = await calendar.import_ics(
            tx,
            caller.actor,
            file.ics,
            timezone=user.timezone,
            chat_id=file.chat_id,
            known_roles=caller.engine.roles,
        )
    return ImportedView(
        created=imported.created,
        updated=imported.updated,
        refused=[RefusedView(title=title, reason=reason) for title, reason in imported.refused],
    )
