"""The five ways of saying no; rooms subclass them, and each edge translates a kind once."""

from typing import Any, ClassVar


class Refusal(Exception):
    """A no that is somebody's answer, not a bug.

    `code` never changes once released. `details` holds plain JSON values that help the caller.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = {name: _plain(value) for name, value in details.items()}


class NotFound(Refusal):
    """There is no such thing, or the caller must not learn that there is."""

    code = "not_found"


class Forbidden(Refusal):
    """The caller is known and may not do this."""

    code = "forbidden"


class Conflict(Refusal):
    """The thing is in a state in which this cannot be done."""

    code = "conflict"


class Invalid(Refusal):
    """The request makes no sense, whoever asks and whenever."""

    code = "invalid"


class Unavailable(Refusal):
    """Something outside did not answer; a later attempt may succeed."""

    code = "unavailable"


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, list, dict, type(None))) else str(value)
