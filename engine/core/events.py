"""Domain events: a lower room says what happened, a higher one reacts in the same transaction."""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from engine.core.database import Transaction

Event = TypeVar("Event")
Listener = Callable[["Transaction", Any], Awaitable[object]]


class Bus:
    """Who reacts to what; filled once in `bootstrap.py`."""

    def __init__(self) -> None:
        self._listeners: dict[type, list[Listener]] = defaultdict(list)

    def on(self, kind: type[Event], listener: Callable[["Transaction", Event], Awaitable[object]]) -> None:
        """Await `listener(tx, event)` inside the transaction of whoever emits such an event."""
        self._listeners[kind].append(listener)

    def off(self, kind: type[Event], listener: Callable[["Transaction", Event], Awaitable[object]]) -> None:
        """Ask a listener no longer; no harm if it is not asked already."""
        self._listeners[kind] = [other for other in self._listeners[kind] if other != listener]

    async def dispatch(self, tx: "Transaction", event: object) -> list[object]:
        """Let everybody who listens react, one after another; return what they made of it."""
        return [await listener(tx, event) for listener in self._listeners.get(type(event), ())]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A line of the organization's event log, which clients follow as a stream.

    `channel` is the id that subscribers follow (a chat, or a person); `data` holds ids and states but
    never texts, so that erasing a text erases it here too. `live` may carry the whole object for those
    who listen right now; it is not stored.
    """

    channel: UUID
    kind: str
    data: dict[str, Any]
    live: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Announced:
    """An announcement as it stands in the log: numbered without gaps within its organization."""

    org_id: UUID
    no: int
    announcement: Announcement


@dataclass(frozen=True, slots=True)
class AnnouncedElsewhere:
    """Another process has written to an organization's log up to this number; the rows tell what."""

    org_id: UUID
    no: int
