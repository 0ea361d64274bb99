"""Time as people read it: a weekday, a date, and whose clock it is."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

WEEKDAYS = ("понедельник", "вторник", "среда", "четверг", "пятница", "суббота", "воскресенье")
MONTHS = (
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
)


def zone(timezone: str) -> tzinfo:
    """Find a time zone by name; an unknown one is UTC, which every text made from it then says."""
    try:
        return ZoneInfo(timezone)
    except (OSError, ValueError, LookupError):  # unknown, malformed, or no zone data on this machine
        return UTC


def describe_time(now: datetime, timezone: str, locale: str = "ru") -> str:
    """Say a moment on somebody's clock, in Russian or English: weekday, date, time, and the zone."""
    local = now.astimezone(zone(timezone))
    if locale == "ru":
        day = f"{WEEKDAYS[local.weekday()]}, {local.day} {MONTHS[local.month - 1]} {local.year} г."
    else:
        # We set no locale, so these names are C's, which are English.
        day = f"{local:%A}, {local.day} {local:%B} {local.year}"
    offset = local.strftime("%z")
    return f"{day}, {local:%H:%M} ({getattr(local.tzinfo, 'key', 'UTC')}, UTC{offset[:3]}:{offset[3:5]})"
