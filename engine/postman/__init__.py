"""Tells people what waits for them: plans who is told by which channel, and sends it."""

from engine.postman.postman import Postman
from engine.postman.sender import Sender

__all__ = ["Postman", "Sender"]
