"""What others wrote, made safe for a terminal: words, and nothing that it would obey."""

import re

# Control characters but for tab and line feed, and those that turn the direction of writing around.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def plain(text: object) -> str:
    """Return a text without characters that steer a terminal."""
    return _OBEYED.sub("\ufffd", str(text).replace("\r\n", "\n"))


def one_line(text: object) -> str:
    """Return a text as one such line, for names and titles."""
    return " ".join(plain(text).split())
