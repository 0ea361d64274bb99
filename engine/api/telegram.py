"""Where Telegram calls the engine, when it is set to."""

from collections.abc import Callable
from hmac import compare_digest
from typing import Any

from fastapi import APIRouter, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.api.caller import engine_of
from engine.api.errors import problem
from engine.api.views import View
from engine.domains import notifications
from engine.domains.notifications import TELEGRAM_PATH, Office, TelegramStirred

SECRET_HEADER = b"x-telegram-bot-api-secret-token"
router = APIRouter(tags=["notifications"])


class Taken(View):
    """It was stored; what it means is worked on after this."""

    is_new: bool


class TelegramGate:
    """Lets only those call the webhook who know its secret; of what others send not a byte is read."""

    def __init__(self, app: ASGIApp, *, office: Callable[[], Office], prefix: str) -> None:
        self._app = app
        self._office = office
        self._path = prefix + TELEGRAM_PATH

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        shown = next((value for name, value in scope["headers"] if name == SECRET_HEADER), b"")
        secret = self._office().telegram_secret
        if secret is not None and compare_digest(shown, secret.encode()):
            await self._app(scope, receive, send)
            return
        answer = problem(
            403,
            "telegram_secret_wrong",
            "This is Telegram's door.",
            request_id=scope["request_id"],
            headers={"Connection": "close"},
        )
        await answer(scope, receive, send)


@router.post(TELEGRAM_PATH)
async def take_update(update: dict[str, Any], request: Request) -> Taken:
    """Store what Telegram tells, each update once, and say so; for Telegram alone."""
    engine = engine_of(request)
    bot_id = engine.office.bot_id
    assert bot_id is not None, "whoever knows the secret calls a bot that is set up"
    # What has no number is passed over: refused, it would be told again for a day and keep the rest waiting.
    async with engine.database.across_organizations(reason="what Telegram told") as across:
        is_new = await notifications.keep_updates(across, bot_id=bot_id, contents=[update]) > 0
        across.after_commit(TelegramStirred())
    return Taken(is_new=is_new)
