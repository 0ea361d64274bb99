"""The HTTP edge: it translates requests into verbs and refusals into statuses, and decides nothing."""

from engine.api.app import create_app
from engine.api.caller import Authenticated, Caller, Engine, Newcomer

__all__ = ["Authenticated", "Caller", "Engine", "Newcomer", "create_app"]
