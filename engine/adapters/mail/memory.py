"""A mailbox that keeps its letters, for tests and for a laptop without a mail server."""

from engine.adapters.mail.letters import Letter
from engine.adapters.mail.smtp import refuse_unfit
from engine.domains.notifications import DeliveryDelayed


class MailboxInMemory:
    """Keeps what it is given, each letter once."""

    def __init__(self) -> None:
        self.delivered: list[Letter] = []
        self.is_open = True

    async def deliver(self, letter: Letter) -> None:
        """Keep a letter."""
        refuse_unfit(letter)
        if not self.is_open:
            raise DeliveryDelayed("The mailbox is closed.")
        self.delivered.append(letter)

    async def close(self) -> None:
        """Take no more letters."""
        self.is_open = False
