"""How what wakes the senders travels between processes."""

from engine.core.relay import Relay
from engine.domains.notifications.models import Stirred, TelegramStirred


def let_travel(relay: Relay) -> None:
    """Let the senders of other processes hear that there is something to do."""
    relay.carry(Stirred, "stirred", lambda _: [None], lambda _: Stirred())
    relay.carry(TelegramStirred, "telegram", lambda _: [None], lambda _: TelegramStirred())
