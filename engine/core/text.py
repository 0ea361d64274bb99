"""What makes a piece of text fit to be stored and shown."""

import unicodedata

# Cc: controls, NUL and line breaks. Cs: half a character. Zl, Zp: other line breaks. Cn: no character at all.
_UNFIT = {"Cc", "Cs", "Zl", "Zp", "Cn"}
_UNSEEN = {"Cf", "Zs"}
_DIRECTION_MARKS = set(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # They make a line read as another.


def one_line(text: str, *, longest: int) -> str | None:
    """Return a name or title composed (NFC) and with single spaces, or None when it is not a good line."""
    composed = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in composed)
    line = " ".join(part for part in spaced.split(" ") if part)
    if not 1 <= len(line) <= longest:
        return None
    kinds = {unicodedata.category(sign) for sign in line}
    if kinds & _UNFIT or kinds <= _UNSEEN or not _DIRECTION_MARKS.isdisjoint(line):
        return None
    return line
