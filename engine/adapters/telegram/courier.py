"""Carries notes as messages of the bot; a draft has buttons for those who may sign it."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from uuid import UUID

from engine.adapters.telegram.bot import TelegramBot
from engine.adapters.telegram.markup import Ending, Piece, render
from engine.domains.notifications import ChannelKind, DeliveryRefused, Note, Office, say


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send."""

    chat_id: int
    piece: Piece
    buttons: tuple[tuple[str, str], ...] = ()


class TelegramCourier:
    """The courier of Telegram."""

    kind: ChannelKind = "telegram"

    def __init__(self, office: Office, bot: TelegramBot) -> None:
        self._office = office
        self._bot = bot

    def write(self, note: Note) -> list[Message]:
        """Write a note as one message, or as several where it is long; the buttons are under the last."""
        try:
            chat_id = int(note.address)
        except ValueError:
            raise DeliveryRefused("this is no Telegram chat", breaks_channel=True) from None
        pieces = self._pieces(note)
        single = note.tidings[0] if len(note.tidings) == 1 else None
        buttons = _buttons(note) if single is not None and single.may_sign and not single.is_cut else ()
        return [
            Message(chat_id, piece, buttons if place == len(pieces) else ())
            for place, piece in enumerate(pieces, start=1)
        ]

    async def send(self, part: Message) -> str:
        """Say it; return the message's number in its chat."""
        number = await self._bot.say(
            part.chat_id, part.piece.text, entities=part.piece.entities, buttons=part.buttons
        )
        return str(number)

    async def close(self) -> None:
        """Give connections back."""
        await self._bot.close()

    def _pieces(self, note: Note) -> list[Piece]:
        if not note.tidings:
            return render(say(note.locale, "test_body"), before=say(note.locale, "test"))
        if len(note.tidings) == 1:
            (tiding,) = note.tidings
            endings = [Ending(say(note.locale, "is_cut"))] if tiding.is_cut else []
            endings += self._link(note, tiding.chat_id)
            return render(tiding.body, before=tiding.headline, endings=endings)
        lines = [f"- {_as_it_is(tiding.headline)}" for tiding in note.tidings]
        headline = say(note.locale, "digest", {"count": len(note.tidings)})
        return render("\n".join(lines), before=headline, endings=self._link(note, None))

    def _link(self, note: Note, chat_id: UUID | None) -> list[Ending]:
        address = self._office.chat_link(chat_id)
        return [Ending(say(note.locale, "open"), "text_link", address)] if address else []


def _buttons(note: Note) -> tuple[tuple[str, str], ...]:
    delivery = urlsafe_b64encode(note.delivery_id.bytes).rstrip(b"=").decode()
    verdicts = ("approve", "edit", "reject")
    return tuple((say(note.locale, verdict), f"{verdict}:{delivery}") for verdict in verdicts)


def _as_it_is(text: str) -> str:
    """Return a text as Markdown that shows it."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()<>#+-.!|~" else sign for sign in text)
