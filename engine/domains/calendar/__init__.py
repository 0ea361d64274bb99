"""The calendar is where things are planned: events, when they come round, and what happened each time."""

from engine.domains.calendar.models import EventFired, FiringFailed

__all__ = ["EventFired", "FiringFailed"]
