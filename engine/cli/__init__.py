"""`rugpt`: the front door for operators and for people at a terminal."""

from engine.cli.commands import main

__all__ = ["main"]
