"""What this installation can reach people by, and the links that only it can make."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from uuid import UUID

from engine.core.secret import Seal
from engine.domains.notifications.errors import UnsubscribeInvalid
from engine.domains.notifications.models import ChannelKind

UNSUBSCRIBE_PATH = "/notifications/unsubscribe/"
TELEGRAM_PATH = "/notifications/telegram/webhook"
_UNSUBSCRIBE = "unsubscribe"


@dataclass(slots=True)
class Office:
    """One per process; `bot_name` becomes known once Telegram has answered."""

    seal: Seal
    kinds: frozenset[ChannelKind] = frozenset({"in_app", "webhook"})
    public_url: str | None = None
    api_base: str = "/api/v1"  # as it is reached from outside
    telegram_token: str | None = field(default=None, repr=False)
    bot_name: str | None = None
    push_key: str | None = None  # the public one, which browsers subscribe with

    @property
    def bot_id(self) -> int | None:
        """Return the bot's number, which its token begins with."""
        return int(self.telegram_token.partition(":")[0]) if self.telegram_token else None

    @property
    def telegram_secret(self) -> str | None:
        """Return what Telegram has to show when it calls us; every process knows the same."""
        if self.telegram_token is None:
            return None
        return self.seal.sign(self.telegram_token.encode(), about="telegram").hex()

    @property
    def telegram_url(self) -> str | None:
        """Return where Telegram is to call us."""
        if self.public_url is None:
            return None
        return f"{self.public_url.rstrip('/')}/api/v1{TELEGRAM_PATH}"

    def chat_link(self, chat_id: UUID | None) -> str | None:
        """Return where the client shows a chat, where the installation says how it is reached."""
        if self.public_url is None:
            return None
        base = self.public_url.rstrip("/")
        return f"{base}/" if chat_id is None else f"{base}/#/chats/{chat_id}"

    def unsubscribe_link(self, *, org_id: UUID, channel_id: UUID) -> str | None:
        """Return a link that silences one channel, and needs no sign-in."""
        if self.public_url is None:
            return None
        content = org_id.bytes + channel_id.bytes
        token = urlsafe_b64encode(content + self.seal.sign(content, about=_UNSUBSCRIBE)).rstrip(b"=")
        return f"{self.public_url.rstrip('/')}{self.api_base}{UNSUBSCRIBE_PATH}{token.decode()}"

    def read_unsubscribe(self, token: str) -> tuple[UUID, UUID]:
        """Return the organization and the channel that a link names, or raise UnsubscribeInvalid."""
        try:
            content = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            raise UnsubscribeInvalid from None
        if len(content) != 48 or not self.seal.is_signed(content[:32], content[32:], about=_UNSUBSCRIBE):
            raise UnsubscribeInvalid
        return UUID(bytes=content[:16]), UUID(bytes=content[16:32])
