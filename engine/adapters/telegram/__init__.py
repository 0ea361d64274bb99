"""Telegram: a bot that tells people what waits for them, and hears which buttons they press."""

from engine.adapters.telegram.bot import TelegramBot, TelegramTokenInvalid
from engine.adapters.telegram.courier import Message, TelegramCourier
from engine.adapters.telegram.markup import Entity, Piece, render
from engine.adapters.telegram.pace import Pace

__all__ = [
    "Entity",
    "Message",
    "Pace",
    "Piece",
    "TelegramBot",
    "TelegramCourier",
    "TelegramTokenInvalid",
    "render",
]
