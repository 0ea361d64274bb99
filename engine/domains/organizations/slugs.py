"""Slugs: an organization's name in the letters of an address."""

import re
import unicodedata
from collections.abc import Iterator
from secrets import token_hex

_LONGEST = 40
_TRIES = 5
_PAIRS = """
а=a б=b в=v г=g д=d е=e ё=e ж=zh з=z и=i й=y к=k л=l м=m н=n о=o п=p р=r с=s т=t у=u ф=f х=kh ц=ts ч=ch
ш=sh щ=shch ъ= ы=y ь= э=e ю=yu я=ya
"""
_LATIN = dict(pair.split("=") for pair in _PAIRS.split())


def slug_of(name: str) -> str:
    """Return a name in small Latin letters, digits and single dashes."""
    letters = "".join(_LATIN.get(sign, sign) for sign in unicodedata.normalize("NFC", name).lower())
    plain = unicodedata.normalize("NFKD", letters).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return slug[:_LONGEST].strip("-") or "organization"


def slugs_of(name: str) -> Iterator[str]:
    """Yield slugs to try one after another: the plain one, numbered ones, and one that nobody has."""
    slug = slug_of(name)
    yield slug
    for number in range(2, _TRIES):
        yield f"{slug}-{number}"
    yield f"{slug}-{token_hex(4)}"
