"""Who is called in a text: `@username` is a colleague, `@@role` an AI role."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

# Code and addresses are not speech: what looks like a mention in them calls nobody.
# A scheme has an end: without one, each word of a long text would look for its "://" through all the others.
_NOT_SPEECH = re.compile(
    r"```.*?(?:```|\Z)|``(?!`)[^\n]*?``|`[^`\n]*`|(?:\b[a-z][a-z0-9+.-]{0,30}://|\bwww\.)\S+",
    re.DOTALL | re.IGNORECASE,
)
# The name is taken whole or not at all: of "@ann@example.com" no "an" may be left.
_MENTION = re.compile(r"(?<![\w@\\/.+-])(@@?)((?>\w(?:[\w.-]*\w)?))(?!@)")
_SEPARATOR = re.compile(r"[.\-_]+")


@dataclass(frozen=True, slots=True)
class Called:
    """What a text calls, each once, in the order of the text.

    `users` holds for each `@…` the readings to try, longest first: in "@anna.Привет" the dot may belong
    to the name or end it. `unknown_roles` are the `@@…` that name no role.
    """

    users: tuple[tuple[str, ...], ...]
    roles: tuple[str, ...]
    unknown_roles: tuple[str, ...]


def find_mentions(text: str, role_names: Mapping[str, str]) -> Called:
    """Read the mentions of a text; `role_names` maps every casefolded code and name to a role's code."""
    speech = _NOT_SPEECH.sub(lambda found: " " * len(found[0]), unicodedata.normalize("NFC", text))
    users: dict[tuple[str, ...], None] = {}
    roles: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for found in _MENTION.finditer(speech):
        readings = _readings(found[2].casefold())
        if found[1] == "@":
            users[readings] = None
        elif code := _role_at(speech, found.start(2), readings, role_names):
            roles[code] = None
        else:
            unknown[found[2]] = None
    return Called(tuple(users), tuple(roles), tuple(unknown))


def _readings(name: str) -> tuple[str, ...]:
    ends = [len(name), *(cut.start() for cut in reversed(list(_SEPARATOR.finditer(name))) if cut.start())]
    return tuple(name[:end] for end in ends[:4])


def _role_at(text: str, start: int, readings: tuple[str, ...], role_names: Mapping[str, str]) -> str | None:
    """Return the role with the longest name that stands here; names may have several words."""
    ahead = text[start : start + 64].casefold()
    for name in sorted((name for name in role_names if " " in name), key=len, reverse=True):
        if ahead.startswith(name) and not ahead[len(name) : len(name) + 1].isalnum():
            return role_names[name]
    return next((role_names[reading] for reading in readings if reading in role_names), None)
