"""Turns what kept a member from answering into plain data, and back: it is kept on disk meanwhile."""

from typing import TypedDict, cast

from engine.core.errors import Refusal, Unavailable
from engine.domains.runs import ModelGarbled, ModelTimeout, ModelUnavailable, PromptTooLong
from engine.graphs.limits import Limit, LimitReached

_OF_MODELS = {kind.code: kind for kind in (ModelUnavailable, PromptTooLong, ModelTimeout, ModelGarbled)}


class Failure(TypedDict):
    """A refusal by its code, or a limit by its name and number."""

    code: str
    message: str
    limit: int


def as_data(failure: Refusal | LimitReached) -> Failure:
    """Put a failure into plain words."""
    if isinstance(failure, LimitReached):
        return Failure(code=failure.limit, message="", limit=failure.number)
    return Failure(code=failure.code, message=failure.message, limit=0)


def as_error(failure: Failure) -> Exception:
    """Give a failure to raise: limits and models fail as they did, all others are Unavailable."""
    if failure["limit"]:
        return LimitReached(cast(Limit, failure["code"]), failure["limit"])
    return _OF_MODELS.get(failure["code"], Unavailable)(failure["message"])
