"""How it travels between processes that the role files have changed."""

from dataclasses import dataclass

from engine.core.relay import Relay


@dataclass(frozen=True, slots=True)
class RolesChanged:
    """Whoever has roles reads their files again."""


def let_travel(relay: Relay) -> None:
    """Let other processes hear of it; each reads the files of its own machine."""
    relay.carry(RolesChanged, "roles", lambda _: [None], lambda _: RolesChanged())
