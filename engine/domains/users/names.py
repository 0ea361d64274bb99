"""What people may be called, and where they may say they are."""

import re
import unicodedata
from functools import cache
from zoneinfo import available_timezones

from engine.core.text import one_line
from engine.domains.users.errors import (
    DisplayNameInvalid,
    EmailInvalid,
    LocaleUnknown,
    TimezoneUnknown,
    UsernameInvalid,
)

LOCALES = ("ru", "en")
_INSIDE = set("._-")
# Where approvers are listed these are kinds of people, so they may be nobody's name.
_POLICY_WORDS = {"asker", "members", "admins"}
_AT_SIGNS = set("@\ufe6b\uff20")
# Not the whole of RFC 5322: what people have, without what mail programs and logs could misread.
_EMAIL = re.compile(r"[^\s@<>\"(),:;\[\]\\]{1,64}@[^\W_](?:[\w-]*[^\W_])?(?:\.[^\W_](?:[\w-]*[^\W_])?)*")


def a_username(text: str) -> str:
    """Return a username composed (NFC), or raise UsernameInvalid; its case is kept."""
    username = unicodedata.normalize("NFC", text)
    if not 2 <= len(username) <= 64:
        raise UsernameInvalid
    if not (_is_letter_or_digit(username[0]) and _is_letter_or_digit(username[-1])):
        raise UsernameInvalid
    if not all(sign in _INSIDE or _is_letter_or_digit(sign) for sign in username):
        raise UsernameInvalid
    if username.casefold() in _POLICY_WORDS:
        raise UsernameInvalid
    return username


def an_email(text: str) -> str:
    """Return an e-mail address, or raise EmailInvalid."""
    email = one_line(text, longest=254)
    if email is None or not _EMAIL.fullmatch(email):
        raise EmailInvalid
    return email


def a_display_name(text: str) -> str:
    """Return a name for people to read, or raise DisplayNameInvalid: it must not look like a mention."""
    name = one_line(text, longest=100)
    if name is None:
        raise DisplayNameInvalid
    seen = (sign for sign in name if unicodedata.category(sign) not in ("Cf", "Zs"))
    if next(seen, "@") in _AT_SIGNS:
        raise DisplayNameInvalid
    return name


def a_locale(text: str) -> str:
    """Return a locale, or raise LocaleUnknown."""
    if text not in LOCALES:
        raise LocaleUnknown
    return text


def a_timezone(text: str) -> str:
    """Return an IANA time zone name, or raise TimezoneUnknown."""
    if text not in _timezones():
        raise TimezoneUnknown
    return text


def _is_letter_or_digit(sign: str) -> bool:
    category = unicodedata.category(sign)
    return category[0] == "L" or category == "Nd"


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime", "Factory"}
