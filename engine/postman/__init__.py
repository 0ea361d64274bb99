"""Tells people what waits for them: plans who is told by which channel, and sends it."""

from engine.postman.postman import Postman
from engine.postman.sender import Sender
from engine.postman.telegraph import Telegraph

__all__ = ["Postman", "Sender", "Telegraph"]
