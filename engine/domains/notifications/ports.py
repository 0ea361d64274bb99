"""What this room needs from the outside world: somebody who carries a note to a kind of channel."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from engine.domains.notifications.models import ChannelKind, Note

Part = TypeVar("Part")


class Courier(Protocol, Generic[Part]):
    """Carries notes to one kind of channel."""

    kind: ChannelKind

    def write(self, note: Note) -> Sequence[Part]:
        """Put a note into the parts in which it goes out, always the same for the same note."""
        ...

    async def send(self, part: Part) -> str:
        """Hand one part over and return what the other side calls it.

        Raises DeliveryDelayed, DeliveryRefused or DeliveryUnknown, within a minute, and nothing else.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
