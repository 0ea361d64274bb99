"""Opaque marks of a place in a list: what a client gets as `next_cursor` and hands back unread."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from engine.core.errors import Invalid
from engine.core.json import dump

_LONGEST = 1024
_INTEGERS = range(-(2**63), 2**63)  # what PostgreSQL takes as a bigint


class BadCursor(Invalid):
    code = "bad_cursor"

    def __init__(self) -> None:
        super().__init__("This cursor is not one of this list's. Leave it out to start from the beginning.")


def encode_cursor(place: dict[str, Any]) -> str:
    """Return a place in a list as one URL-safe word; it may hold texts, integers, UUIDs and moments."""
    return urlsafe_b64encode(dump(place)).rstrip(b"=").decode()


def decode_cursor(cursor: str, **fields: type) -> dict[str, Any]:
    """Return what `encode_cursor` was given, or raise BadCursor.

    With `fields`, such as `after=UUID, no=int`, exactly these are there and are of these types.
    """
    if len(cursor) > _LONGEST or not cursor.isascii():
        raise BadCursor
    try:
        place = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, orjson.JSONDecodeError):
        raise BadCursor from None
    if not isinstance(place, dict) or (fields and place.keys() != fields.keys()):
        raise BadCursor
    return {name: _typed(value, fields[name]) for name, value in place.items()} if fields else place


def _typed(value: object, kind: type) -> object:
    try:
        if kind is UUID and isinstance(value, str):
            return UUID(value)
        if kind is datetime and isinstance(value, str):
            return _moment(value)
    except ValueError:
        raise BadCursor from None
    if type(value) is not kind or (kind is int and value not in _INTEGERS):
        raise BadCursor
    if isinstance(value, str) and "\0" in value:
        raise BadCursor
    return value


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise BadCursor
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # It is no moment in UTC, which is what the database wants to know.
        raise BadCursor from None
