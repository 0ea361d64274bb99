"""Which days are worked: what a country keeps and moves, and what an organization says of its own."""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from engine.domains.calendar.errors import CountryUnknown

if TYPE_CHECKING:
    from holidays import HolidayBase

SATURDAY = 5


class WorkingCalendar:
    """The working days of a country, with those that an organization has changed."""

    def __init__(
        self, country: str, changed: Mapping[date, bool] = MappingProxyType({})
    ) -> None:  # raises CountryUnknown
        self._country = _days_of(country)
        self._changed = changed

    def is_working(self, day: date) -> bool:
        """Whether people work on this day."""
        changed = self._changed.get(day)
        return self._country.is_working_day(day) if changed is None else changed

    def free(self, year: int) -> list[date]:
        """Return the weekdays of a year that nobody works."""
        return [day for day in _days(year) if day.weekday() < SATURDAY and not self.is_working(day)]

    def worked(self, year: int) -> list[date]:
        """Return the weekends of a year that are worked."""
        return [day for day in _days(year) if day.weekday() >= SATURDAY and self.is_working(day)]

    def changed(self, year: int) -> dict[date, bool]:
        """Return what the organization itself says of days of a year."""
        return {day: is_working for day, is_working in self._changed.items() if day.year == year}


def _days(year: int) -> list[date]:
    first = date(year, 1, 1)
    return [first + timedelta(days=number) for number in range((date(year + 1, 1, 1) - first).days)]


@lru_cache(maxsize=64)
def _days_of(country: str) -> "HolidayBase":
    # It draws a year when the year is first asked for, and keeps it.
    import holidays

    try:
        return holidays.country_holidays(country)
    except NotImplementedError:
        raise CountryUnknown("There is no such country, or its holidays are not known.") from None
