"""How what wakes the senders travels between processes."""

from engine.core.relay import Relay
from engine.domains.notifications.models import OutboxFilled, Stirred, TelegramStirred


def let_travel(relay: Relay) -> None:
    """Let those who plan and send in other processes hear that there is something to do."""
    relay.carry(Stirred, "stirred", lambda _: [None], lambda _: Stirred())
    relay.carry(OutboxFilled, "outbox", lambda _: [None], lambda _: OutboxFilled())
    relay.carry(TelegramStirred, "telegram", lambda _: [None], lambda _: TelegramStirred())
