"""Makes whole and harmless what a model server writes: letters, names and numbers."""

import json
from typing import Any

import orjson

_MOST_TOKENS = 2**31 - 1  # what PostgreSQL takes as an int
_LONGEST_NAME = 200
_INTEGERS = range(-(2**63), 2**64)  # what orjson writes
_MOST_NESTED = 100


class Letters:
    """Keeps letters whole and harmless.

    Servers written in JavaScript cut text between the two halves of an emoji, and send each as an escape
    that is no character. No database column takes such a half, nor NUL.
    """

    __slots__ = ("_half", "cut")

    def __init__(self, *, cut: bool = False) -> None:
        self.cut = cut  # halves were seen, or may come
        self._half = ""

    def loads(self, raw: bytes) -> Any:
        """Decode JSON; raise ValueError when it is none."""
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            if b"\\u" not in raw:
                raise
            self.cut = True
        try:
            return json.loads(raw)  # Slower, and content with halves.
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def clean(self, pieces: list[str]) -> list[str]:
        """Return the pieces, of whole letters only; half a letter waits for the other."""
        text = "".join(pieces)
        if not self.cut and "\x00" not in text:
            return pieces
        text = self._half + text.replace("\x00", "")
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = mended(text.removesuffix(self._half) if self._half else text)
        return [text] if text else []


def mended(text: str) -> str:
    """Join halves of letters that stand together; replace those that stand alone."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def counted(said: object) -> int | None:
    """Return a number of tokens that a server claims, as the database can keep it; None when it is none."""
    if isinstance(said, bool) or not isinstance(said, int):
        return None
    return min(max(said, 0), _MOST_TOKENS)


def a_name(said: object) -> str:
    """Return the name or id of a tool call as it can be stored and sent back."""
    return mended(str(said)).replace("\x00", "")[:_LONGEST_NAME] if isinstance(said, (str, int)) else ""


def sendable(value: Any, depth: int = 0) -> Any:
    """Return what a model wrote as JSON so that it can be sent back.

    Letters become whole, numbers beyond 64 bits text, and towers are cut.
    """
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INTEGERS:
        return str(value)
    if isinstance(value, (dict, list)) and depth > _MOST_NESTED:
        return "…"
    if isinstance(value, dict):
        return {mended(key): sendable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [sendable(item, depth + 1) for item in value]
    return value
