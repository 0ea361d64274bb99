"""A strict Bot API over HTTP, written from aiogram's typed methods, and people who talk to the bot."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx2
from aiogram import methods, types
from aiohttp import web
from pydantic import ValidationError

TOKEN = "123456:a-token-of-the-tests-and-of-nobody"
BOT = types.User(id=123456, is_bot=True, first_name="RuGPT", username="rugpt_bot")
METHODS: dict[str, type[Any]] = {
    "getMe": methods.GetMe,
    "sendMessage": methods.SendMessage,
    "answerCallbackQuery": methods.AnswerCallbackQuery,
    "editMessageReplyMarkup": methods.EditMessageReplyMarkup,
    "getUpdates": methods.GetUpdates,
    "setWebhook": methods.SetWebhook,
    "deleteWebhook": methods.DeleteWebhook,
}
IN_JSON = {"entities", "reply_markup", "link_preview_options", "allowed_updates"}


class Refused(Exception):
    """What the Bot API says instead of a result."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        self.status = status
        self.description = description
        self.parameters = parameters


@dataclass
class Sent:
    """A message of the bot."""

    chat_id: int
    number: int
    text: str
    entities: list[dict[str, Any]]
    markup: dict[str, Any] | None
    at: float

    @property
    def buttons(self) -> dict[str, str]:
        rows = (self.markup or {}).get("inline_keyboard", [])
        return {button["text"]: button["callback_data"] for row in rows for button in row}


@dataclass
class TelegramUser:
    """Somebody with Telegram, in their private chat with the bot."""

    api: "BotApi"
    id: int
    language: str = "ru"

    @property
    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "is_bot": False, "first_name": "Иван", "language_code": self.language}

    def write(self, text: str, *, reply_to: int | None = None, chat: dict[str, Any] | None = None) -> int:
        """Say something to the bot."""
        self.api.started.add(self.id)
        message: dict[str, Any] = {
            "message_id": next(self.api.numbers),
            "date": int(time.time()),
            "chat": chat or {"id": self.id, "type": "private"},
            "from": self.as_json,
            "text": text,
        }
        if reply_to is not None:
            message["reply_to_message"] = {
                "message_id": reply_to, "date": 0, "chat": {"id": self.id, "type": "private"}
            }  # fmt: skip
        return self.api.tell(message=message)

    def press(
        self, data: str, message: Sent, *, chat_id: int | None = None, number: int | None = None
    ) -> str:
        """Press a button; return the press's id."""
        press_id = f"press-{next(self.api.numbers)}"
        self.api.presses[press_id] = None
        self.api.tell(
            callback_query={
                "id": press_id,
                "from": self.as_json,
                "chat_instance": "1",
                "message": {
                    "message_id": number or message.number,
                    "date": int(time.time()),
                    "chat": {"id": chat_id or message.chat_id, "type": "private"},
                    "text": message.text,
                },
                "data": data,
            }
        )
        return press_id

    def block(self, *, is_blocked: bool = True) -> None:
        """Block the bot, or let it in again."""
        (self.api.blocked.add if is_blocked else self.api.blocked.discard)(self.id)
        member = {"user": BOT.model_dump(exclude_none=True), "status": "kicked" if is_blocked else "member"}
        self.api.tell(
            my_chat_member={
                "chat": {"id": self.id, "type": "private"},
                "from": self.as_json,
                "date": int(time.time()),
                "old_chat_member": {**member, "status": "member"},
                "new_chat_member": {**member, "until_date": 0},
            }
        )

    def heard(self) -> list[Sent]:
        """Return what the bot said here."""
        return [sent for sent in self.api.sent if sent.chat_id == self.id]


@dataclass
class BotApi:
    """The server's state: what it was asked, what it refuses, what it has to tell."""

    sent: list[Sent] = field(default_factory=list)
    presses: dict[str, str | None] = field(default_factory=dict)  # and what was answered
    started: set[int] = field(default_factory=set)
    blocked: set[int] = field(default_factory=set)
    refusals: list[Refused] = field(default_factory=list)  # told to sendMessage instead of a result
    loses: int = 0  # answers to sendMessage that never arrive, though the message does
    updates: dict[int, dict[str, Any]] = field(default_factory=dict)
    webhook: dict[str, Any] | None = None
    calls: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: count(100))
    update_numbers: Any = field(default_factory=lambda: count(7001))
    held_until: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    too_soon: int = 0  # messages to a chat that wants quiet
    polls: int = 0
    port: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def user(self, number: int, language: str = "ru") -> TelegramUser:
        return TelegramUser(self, number, language)

    def tell(self, **what: Any) -> int:
        """Let the bot be told something, when it asks or by its webhook."""
        number: int = next(self.update_numbers)
        update = {"update_id": number, **what}
        types.Update.model_validate(update)
        self.updates[number] = update
        self._news.set()
        return number

    async def call_webhook(self, base_url: str, *, secret: str | None = None) -> list[int]:
        """Tell what waits by the webhook, as Telegram does; return the statuses."""
        assert self.webhook is not None
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret or self.webhook["secret_token"]}
        statuses = []
        async with httpx2.AsyncClient(trust_env=False) as http:
            for update in list(self.updates.values()):
                answer = await http.post(base_url, json=update, headers=headers)
                statuses.append(answer.status_code)
        return statuses

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["method"]
        if request.match_info["token"] != TOKEN:
            return _problem(Refused(401, "Unauthorized"))
        self.calls.append(name)
        given = {
            key: json.loads(str(value)) if key in IN_JSON else str(value)
            for key, value in (await request.post()).items()
        }
        try:
            known = METHODS.get(name)
            if known is None:
                raise Refused(404, "Not Found")
            unknown = given.keys() - known.model_fields.keys()
            assert not unknown, f"{name} has no {unknown}"
            asked = known.model_validate(given)
            result = await getattr(self, f"_{name}")(asked, given)
        except ValidationError as error:
            return _problem(Refused(400, f"Bad Request: {error.error_count()} fields make no sense"))
        except Refused as refused:
            return _problem(refused)
        if name == "sendMessage" and self.loses > 0:
            self.loses -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"ok": True, "result": result})

    async def _getMe(self, _asked: methods.GetMe, _given: Any) -> Any:  # noqa: N802
        return BOT.model_dump(exclude_none=True)

    async def _sendMessage(self, asked: methods.SendMessage, given: dict[str, Any]) -> Any:  # noqa: N802
        chat_id = int(asked.chat_id)
        if self.refusals:
            refused = self.refusals.pop(0)
            if "retry_after" in refused.parameters:
                self.held_until[chat_id] = time.monotonic() + refused.parameters["retry_after"]
            raise refused
        if time.monotonic() < self.held_until[chat_id]:
            self.too_soon += 1
            raise Refused(429, "Too Many Requests: retry after 1", retry_after=1)
        if chat_id in self.blocked:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        if chat_id not in self.started:
            raise Refused(400, "Bad Request: chat not found")
        _check_text(asked.text, given.get("entities") or [])
        markup = given.get("reply_markup")
        _check_buttons(markup)
        number = next(self.numbers)
        entities = given.get("entities") or []
        self.sent.append(Sent(chat_id, number, asked.text, entities, markup, time.monotonic()))
        message = types.Message(
            message_id=number,
            date=datetime.now(UTC),
            chat=types.Chat(id=chat_id, type="private"),
            from_user=BOT,
            text=asked.text,
        )
        return json.loads(message.model_dump_json(exclude_none=True, by_alias=True)) | {
            "date": int(time.time())
        }

    async def _answerCallbackQuery(self, asked: methods.AnswerCallbackQuery, _given: Any) -> Any:  # noqa: N802
        if asked.callback_query_id not in self.presses or self.presses[asked.callback_query_id] is not None:
            raise Refused(400, "Bad Request: query is too old or query ID is invalid")
        assert asked.text is None or len(asked.text) <= 200
        self.presses[asked.callback_query_id] = asked.text or ""
        return True

    async def _editMessageReplyMarkup(  # noqa: N802
        self, asked: methods.EditMessageReplyMarkup, given: dict[str, Any]
    ) -> Any:
        found = [
            sent
            for sent in self.sent
            if (sent.chat_id, sent.number) == (int(asked.chat_id or 0), asked.message_id)
        ]
        if not found:
            raise Refused(400, "Bad Request: message to edit not found")
        if found[0].markup == given.get("reply_markup"):
            raise Refused(400, "Bad Request: message is not modified")
        found[0].markup = given.get("reply_markup")
        return True

    async def _getUpdates(self, asked: methods.GetUpdates, _given: Any) -> Any:  # noqa: N802
        if self.webhook is not None:
            raise Refused(409, "Conflict: can't use getUpdates method while webhook is active")
        self.polls += 1
        if self.polls > 1:
            self.polls -= 1
            raise Refused(409, "Conflict: terminated by other getUpdates request")
        try:
            if asked.offset:
                self.updates = {no: told for no, told in self.updates.items() if no >= asked.offset}
            if not self.updates and asked.timeout:
                self._news.clear()
                try:
                    async with asyncio.timeout(min(asked.timeout, 2)):
                        await self._news.wait()
                except TimeoutError:
                    pass
            return list(self.updates.values())[: asked.limit or 100]
        finally:
            self.polls -= 1

    async def _setWebhook(self, asked: methods.SetWebhook, _given: Any) -> Any:  # noqa: N802
        if not asked.url.startswith("https://"):
            raise Refused(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        self.webhook = {"url": asked.url, "secret_token": asked.secret_token}
        return True

    async def _deleteWebhook(self, _asked: methods.DeleteWebhook, _given: Any) -> Any:  # noqa: N802
        self.webhook = None
        return True


@asynccontextmanager
async def bot_api() -> AsyncIterator[BotApi]:
    """Run a Bot API on a free port of the loopback."""
    api = BotApi()
    app = web.Application()
    app.router.add_post("/bot{token}/{method}", api.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    api.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield api
    finally:
        await runner.cleanup()


async def heard(user: TelegramUser, is_it: Callable[[Sent], bool], *, seconds: float = 15) -> Sent:
    """Wait until the bot has said something."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                for sent in user.heard():
                    if is_it(sent):
                        return sent
                await asyncio.sleep(0.02)
    except TimeoutError as late:
        raise AssertionError(f"not heard; {[sent.text for sent in user.heard()]}") from late


async def answered(api: BotApi, press_id: str, *, seconds: float = 15) -> str:
    """Wait until a press is answered."""
    async with asyncio.timeout(seconds):
        while True:
            said = api.presses[press_id]
            if said is not None:
                return said
            await asyncio.sleep(0.02)


def _check_text(text: str, entities: list[dict[str, Any]]) -> None:
    encoded = text.encode("utf-16-le")
    if not text.strip():
        raise Refused(400, "Bad Request: message text is empty")
    if len(encoded) // 2 > 4096:
        raise Refused(400, "Bad Request: message is too long")
    if len(entities) > 100:
        raise Refused(400, "Bad Request: entities would be lost")
    for entity in entities:
        start, end = entity["offset"], entity["offset"] + entity["length"]
        if not 0 <= start < end <= len(encoded) // 2:
            raise Refused(400, "Bad Request: ENTITY_BOUNDS_INVALID")
        encoded[start * 2 : end * 2].decode("utf-16-le")  # Raises within half a character.


def _check_buttons(markup: dict[str, Any] | None) -> None:
    for row in (markup or {}).get("inline_keyboard", []):
        for button in row:
            if not 1 <= len(button["callback_data"].encode()) <= 64:
                raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")


def _problem(refused: Refused) -> web.Response:
    body: dict[str, Any] = {"ok": False, "error_code": refused.status, "description": refused.description}
    if refused.parameters:
        body["parameters"] = refused.parameters
    return web.json_response(body, status=refused.status)
