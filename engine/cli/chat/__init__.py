"""`rugpt chat`: a chat in the terminal, through the same API that every client uses."""

from engine.cli.chat.talk import talk

__all__ = ["talk"]
