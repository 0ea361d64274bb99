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


def describe_time(now: datetime, timezone: str) -> str:
    """Say a moment in Russian on somebody's clock: weekday, date, time, and the zone."""
    local = now.astimezone(zone(timezone))
    weekday, month = WEEKDAYS[local.weekday()], MONTHS[local.month - 1]
    offset = local.strftime("%z")
    return (
        f"{weekday}, {local.day} {month} {local.year} г., {local:%H:%M} "
        f"({getattr(local.tzinfo, 'key', 'UTC')}, UTC{offset[:3]}:{offset[3:5]})"
    )
