"""Why the calendar says no."""

from uuid import UUID

from engine.core.errors import Conflict, Forbidden, Invalid, NotFound


class EventNotFound(NotFound):
    code = "event_not_found"

    def __init__(self, event_id: UUID) -> None:
        super().__init__("There is no such event.", event_id=event_id)


class NotYourEvent(Forbidden):
    code = "not_your_event"


class EventHasEnded(Conflict):
    code = "event_has_ended"


class OwnerAway(Conflict):
    code = "event_owner_away"


class TooManyEvents(Conflict):
    code = "too_many_events"


class ScheduleInvalid(Invalid):
    """The schedule makes no sense; `field` names the part that does not."""

    code = "schedule_invalid"


class CountryUnknown(Invalid):
    code = "country_unknown"


class EventNeverComes(Invalid):
    code = "event_never_comes"


class TooManyOccurrences(Invalid):
    code = "too_many_occurrences"


class EventInvalid(Invalid):
    """What is to happen makes no sense; `field` names the part that does not."""

    code = "event_invalid"


class FeedNotFound(NotFound):
    code = "calendar_feed_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such calendar.")


class IcsInvalid(Invalid):
    code = "ics_invalid"


class WhenUnclear(Invalid):
    """The words for a time are not understood, or mean several; the message asks which, in Russian."""

    code = "when_unclear"
