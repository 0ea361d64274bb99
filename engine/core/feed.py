"""Carries what just happened to whoever listens in this process.

The feed may lose things (a listener in another process hears nothing): rows are the truth, and every
listener re-reads them from time to time. What it gives is speed.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from engine.core.logging import log

Item = TypeVar("Item")


class Feed:
    """Plain function calls, by the type of what is sent."""

    def __init__(self) -> None:
        self._listeners: dict[type, list[Callable[[Any], None]]] = defaultdict(list)

    def on(self, kind: type[Item], listener: Callable[[Item], None]) -> None:
        """Call `listener` with every item of this type; it must be quick and must not wait."""
        self._listeners[kind].append(listener)

    def off(self, kind: type[Item], listener: Callable[[Item], None]) -> None:
        """Call a listener no longer; no harm if it is not called already."""
        self._listeners[kind] = [other for other in self._listeners[kind] if other != listener]

    def send(self, item: object) -> None:
        """Hand an item to its listeners; a listener that fails is logged and hurts nobody else."""
        for listener in self._listeners.get(type(item), ()):
            try:
                listener(item)
            except Exception:  # noqa: BLE001 - whoever sends has committed, and must not fail for a listener's bug
                log.exception("feed_listener_failed", item=type(item).__name__)
