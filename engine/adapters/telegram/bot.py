"""The Bot API by aiogram, with its errors in the words of the notifications room."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from engine.adapters.telegram.markup import Entity
from engine.adapters.telegram.pace import Pace
from engine.core.errors import Invalid
from engine.domains.notifications import DeliveryDelayed, DeliveryRefused, DeliveryUnknown

if TYPE_CHECKING:
    from aiogram import Bot

CALL_SECONDS = 20.0
POLL_SECONDS = 25
KINDS = ("message", "callback_query", "my_chat_member")
Buttons = Sequence[tuple[str, str]]  # what each says, and what it tells us
_GONE = ("chat not found", "user not found", "peer_id_invalid", "upgraded to a supergroup")


class TelegramTokenInvalid(Invalid):
    code = "telegram_token_invalid"

    def __init__(self) -> None:
        super().__init__("RUGPT_TELEGRAM_TOKEN is no token of a bot; BotFather gives it as 123456:ABC….")


class TelegramBot:
    """One bot; every message waits for its turn."""

    def __init__(self, token: str, *, api_url: str, pace: Pace | None = None) -> None:
        number, _, secret = token.partition(":")
        if not (number.isascii() and number.isdigit() and secret) or not token.isprintable() or " " in token:
            raise TelegramTokenInvalid
        self.id = int(number)
        self._token = token
        self._api_url = api_url.rstrip("/")
        self._pace = pace or Pace()
        self._bot: Bot | None = None

    async def name(self) -> str:
        """Return what the bot is called; it also shows that the token works."""
        async with self._understood() as bot:
            me = await bot.get_me()
        return me.username or ""

    async def say(
        self,
        chat_id: int,
        text: str,
        *,
        entities: Sequence[Entity] = (),
        buttons: Buttons = (),
        asks: str | None = None,
    ) -> int:
        """Say something in a chat; return the message's number there. `asks` wants a reply to it."""
        from aiogram.types import (
            ForceReply,
            InlineKeyboardButton,
            InlineKeyboardMarkup,
            LinkPreviewOptions,
            MessageEntity,
        )

        markup: InlineKeyboardMarkup | ForceReply | None = None
        if buttons:
            row = [InlineKeyboardButton(text=label, callback_data=data) for label, data in buttons]
            markup = InlineKeyboardMarkup(inline_keyboard=[row])
        elif asks is not None:
            markup = ForceReply(force_reply=True, input_field_placeholder=asks[:64])
        parts = [
            MessageEntity(
                type=entity.kind,
                offset=entity.offset,
                length=entity.length,
                url=entity.url,
                language=entity.language,
            )
            for entity in entities
        ]
        await self._pace.turn(chat_id)
        async with self._understood(chat_id) as bot:
            sent = await bot.send_message(
                chat_id,
                text,
                entities=parts or None,
                link_preview_options=LinkPreviewOptions(is_disabled=True),
                reply_markup=markup,
            )
        return sent.message_id

    async def answer_press(self, press_id: str, text: str) -> None:
        """Answer a pressed button, which spins until then."""
        async with self._understood() as bot:
            await bot.answer_callback_query(press_id, text=text[:200])

    async def remove_buttons(self, chat_id: int, message_no: int) -> None:
        """Take the buttons from under a message."""
        await self._pace.turn(chat_id)
        async with self._understood(chat_id) as bot:
            await bot.edit_message_reply_markup(chat_id=chat_id, message_id=message_no, reply_markup=None)

    async def updates(self, *, after: int | None) -> list[dict[str, Any]]:
        """Return what was told beyond a number, as Telegram wrote it; wait a while when there is nothing."""
        from aiogram.methods import TelegramMethod

        class GetUpdates(TelegramMethod[list[dict[str, Any]]]):
            # As plain JSON: one that a later Bot API writes otherwise must not keep the others away.
            __returning__ = list[dict[str, Any]]
            __api_method__ = "getUpdates"
            offset: int | None
            timeout: int
            allowed_updates: list[str]

        offset = None if after is None else after + 1
        asked = GetUpdates(offset=offset, timeout=POLL_SECONDS, allowed_updates=list(KINDS))
        async with self._understood() as bot:
            return await bot(asked, request_timeout=POLL_SECONDS + 10)

    async def be_called(self, url: str, *, secret: str) -> None:
        """Have Telegram call a URL with what it tells, and this secret."""
        async with self._understood() as bot:
            await bot.set_webhook(url, secret_token=secret, allowed_updates=list(KINDS), max_connections=10)

    async def be_asked(self) -> None:
        """Have Telegram wait to be asked."""
        async with self._understood() as bot:
            await bot.delete_webhook(drop_pending_updates=False)

    async def close(self) -> None:
        """Give connections back."""
        if self._bot is not None:
            await self._bot.session.close()

    @asynccontextmanager
    async def _understood(self, chat_id: int | None = None) -> AsyncIterator["Bot"]:
        """Give the bot, and turn what goes wrong into what is to be done about it."""
        from aiogram import exceptions

        try:
            yield self._aiogram()
        except exceptions.TelegramRetryAfter as error:
            if chat_id is not None:
                self._pace.hold(chat_id, error.retry_after)
            raise DeliveryDelayed("Telegram wants quiet", retry_after_seconds=error.retry_after) from error
        except (exceptions.TelegramForbiddenError, exceptions.TelegramMigrateToChat) as error:
            raise DeliveryRefused(_said(error), breaks_channel=True) from error
        except (exceptions.TelegramUnauthorizedError, exceptions.TelegramConflictError) as error:
            raise DeliveryDelayed(_said(error)) from error
        except (exceptions.TelegramServerError, exceptions.RestartingTelegram) as error:
            raise DeliveryDelayed(_said(error)) from error
        except exceptions.TelegramNetworkError as error:
            raise _network(error) from error
        except exceptions.ClientDecodeError as error:
            raise DeliveryUnknown("Telegram answered what nobody understands") from error
        except exceptions.TelegramAPIError as error:
            said = _said(error)
            raise DeliveryRefused(said, breaks_channel=any(sign in said.lower() for sign in _GONE)) from error

    def _aiogram(self) -> "Bot":
        if self._bot is None:
            from aiogram import Bot
            from aiogram.client.session.aiohttp import AiohttpSession
            from aiogram.client.telegram import TelegramAPIServer
            from aiogram.utils.token import TokenValidationError

            session = AiohttpSession(api=TelegramAPIServer.from_base(self._api_url), timeout=CALL_SECONDS)
            try:
                self._bot = Bot(self._token, session=session)
            except TokenValidationError:
                raise TelegramTokenInvalid from None
        return self._bot


def _network(error: Exception) -> DeliveryDelayed | DeliveryUnknown:
    from aiohttp import ClientConnectorError

    cause = error.__cause__ or error.__context__
    if isinstance(cause, ClientConnectorError):
        return DeliveryDelayed("Telegram cannot be reached")
    return DeliveryUnknown(f"Telegram did not answer: {type(cause or error).__name__}")


def _said(error: Exception) -> str:
    message = getattr(error, "message", None) or str(error)
    return " ".join(str(message).split())[:300]
