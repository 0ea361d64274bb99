"""When the clocks of Europe are changed: on the last Sundays of March and October, at one o'clock UTC."""

from datetime import UTC, datetime, timedelta

NEXT_YEAR = datetime.now(UTC).year + 1


def change_of_clocks(year: int, month: int) -> datetime:
    """Return when a year's clocks are put forward (month 3) or back (month 10)."""
    last = datetime(year, month, 31, 1, tzinfo=UTC)
    return last - timedelta(days=last.isoweekday() % 7)


def coming_change_of_clocks(*, after: datetime) -> datetime:
    """Return the first change after a moment."""
    changes = [change_of_clocks(after.year + more, month) for more in (0, 1) for month in (3, 10)]
    return next(change for change in changes if change > after)
