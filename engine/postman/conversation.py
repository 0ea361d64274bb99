"""What the bot makes of what Telegram tells: chats that are bound, buttons that are pressed, replies."""

import binascii
from base64 import urlsafe_b64decode
from typing import Any
from uuid import UUID

from engine.adapters.telegram import TelegramBot
from engine.core.database import Database
from engine.core.errors import Refusal
from engine.core.logging import log
from engine.domains import notifications
from engine.domains.approvals import Verdict
from engine.domains.notifications import Bound, DeliveryRefused, Locale, say

LONGEST_CODE = 64
_AWAY = ("kicked", "left")


class Conversation:
    """One bot's side of its talks; each thing told may come twice, and is then answered as before."""

    def __init__(self, database: Database, bot: TelegramBot) -> None:
        self._database = database
        self._bot = bot

    async def hear(self, update: dict[str, Any]) -> None:
        """Do what somebody in Telegram wishes; what it may mean later is passed over."""
        if isinstance(press := update.get("callback_query"), dict):
            await self._press(press)
        elif isinstance(message := update.get("message"), dict):
            await self._message(message)
        elif isinstance(change := update.get("my_chat_member"), dict):
            await self._membership(change)

    async def _press(self, press: dict[str, Any]) -> None:
        """A button was pressed; it is its owner's only in their own chat with the bot."""
        sender, message = press.get("from") or {}, press.get("message") or {}
        chat_id, number = (message.get("chat") or {}).get("id"), message.get("message_id")
        verdict, delivery_id = _read_button(str(press.get("data") or ""))
        locale = _language(sender)
        bound = await self._bound(sender.get("id"))
        said: str = "not_yours"
        draft_id = None
        if bound is not None and chat_id == sender.get("id") and verdict and delivery_id:
            async with self._database.as_organization(bound.org_id) as tx:
                locale = await notifications.language_of(tx, bound)
                said, draft_id = await notifications.press(
                    tx, bound, delivery_id=delivery_id, message_no=str(number), verdict=verdict
                )
        await self._answer(str(press.get("id")), say(locale, said))
        if (
            bound is None
            or said == "not_yours"
            or not isinstance(chat_id, int)
            or not isinstance(number, int)
        ):
            return
        if said == "ask_edit" and draft_id is not None:
            await self._ask_edit(bound, chat_id, draft_id, locale)
        elif isinstance(number, int):
            await self._remove_buttons(chat_id, number)

    async def _ask_edit(self, bound: Bound, chat_id: int, draft_id: UUID, locale: Locale) -> None:
        number = await self._bot.say(chat_id, say(locale, "ask_edit"), asks=say(locale, "edit_placeholder"))
        async with self._database.as_organization(bound.org_id) as tx:
            await notifications.ask_edit(tx, bound, message_no=number, draft_id=draft_id)

    async def _message(self, message: dict[str, Any]) -> None:
        sender, chat = message.get("from") or {}, message.get("chat") or {}
        text, chat_id = str(message.get("text") or ""), chat.get("id")
        if sender.get("is_bot") or not isinstance(chat_id, int):
            return
        if chat.get("type") != "private":
            if text.startswith("/start"):
                await self._say(chat_id, say(_language(sender), "private_only"))
            return
        word, _, rest = text.partition(" ")
        bound = await self._bound(chat_id)
        if word == "/start" and rest.strip():
            await self._start(chat_id, rest.strip(), bound, _language(sender))
        elif bound is None:
            await self._say(chat_id, say(_language(sender), "not_bound"))
        else:
            await self._hear_owner(bound, chat_id, message, text)

    async def _start(self, chat_id: int, code: str, bound: Bound | None, language: Locale) -> None:
        """Somebody proves by a code whose chat this is."""
        if bound is not None:
            async with self._database.as_organization(bound.org_id) as tx:
                language = await notifications.language_of(tx, bound)
            await self._say(chat_id, say(language, "bound_before"))
            return
        said = "code_wrong"
        async with self._database.across_organizations(reason="a code said to the bot") as across:
            org_id = await notifications.organization_of_code(across, code[:LONGEST_CODE])
        if org_id is not None:
            try:
                async with self._database.as_organization(org_id) as tx:
                    if await notifications.bind_chat(tx, code=code[:LONGEST_CODE], address=str(chat_id)):
                        said = "bound"
            except notifications.TelegramChatTaken:
                said = "bound_before"
        await self._say(chat_id, say(language, said))

    async def _hear_owner(self, bound: Bound, chat_id: int, message: dict[str, Any], text: str) -> None:
        said: str | None = None
        number = (message.get("reply_to_message") or {}).get("message_id")
        async with self._database.as_organization(bound.org_id) as tx:
            locale = await notifications.language_of(tx, bound)
            if text == "/stop":
                await notifications.unbind(tx, bound)
                said = "unbound"
            elif isinstance(number, int) and text.strip():
                said = await notifications.reply(tx, bound, message_no=number, text=text)
        await self._say(chat_id, say(locale, said or "help"))

    async def _membership(self, change: dict[str, Any]) -> None:
        """Somebody blocked the bot, or let it in again."""
        bound = await self._bound((change.get("chat") or {}).get("id"))
        status = (change.get("new_chat_member") or {}).get("status")
        if bound is None:
            return
        async with self._database.as_organization(bound.org_id) as tx:
            if status in _AWAY:
                await notifications.break_chat(tx, bound, reason="the bot was blocked")
            else:
                await notifications.mend_chat(tx, bound)

    async def _bound(self, chat_id: object) -> Bound | None:
        if not isinstance(chat_id, int):
            return None
        async with self._database.across_organizations(reason="whose a Telegram chat is") as across:
            return await notifications.bound_chat(across, address=str(chat_id))

    async def _say(self, chat_id: int, text: str) -> None:
        try:
            await self._bot.say(chat_id, text)
        except DeliveryRefused as refusal:
            log.info("telegram_chat_refuses", detail=refusal.message)

    async def _answer(self, press_id: str, text: str) -> None:
        try:
            await self._bot.answer_press(press_id, text)
        except DeliveryRefused as refusal:  # Too old by now: the button has stopped spinning.
            log.info("telegram_press_too_old", detail=refusal.message)

    async def _remove_buttons(self, chat_id: int, number: int) -> None:
        try:
            await self._bot.remove_buttons(chat_id, number)
        except Refusal as refusal:  # They are gone already, or do nothing but say so.
            log.info("telegram_buttons_stay", detail=refusal.message)


def _read_button(data: str) -> tuple[Verdict | None, UUID | None]:
    verdict, _, token = data.partition(":")
    try:
        return Verdict(verdict), UUID(bytes=urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        return None, None


def _language(sender: dict[str, Any]) -> Locale:
    """Return the language of somebody whom we do not know, by what their Telegram speaks."""
    return "ru" if str(sender.get("language_code") or "ru").startswith("ru") else "en"
