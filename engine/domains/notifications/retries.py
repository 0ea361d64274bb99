"""When a delivery that did not arrive is tried again, and when it is given up: pure rules."""

MOST_ATTEMPTS = 14
MOST_UNKNOWN = 3
FIRST_SECONDS = 5.0
LONGEST_SECONDS = 1800.0
_CALMER = 4


def is_over(attempts: int, unknowns: int) -> bool:
    """Whether a delivery is given up: it failed for some two hours, or may have arrived several times."""
    return attempts >= MOST_ATTEMPTS or unknowns >= MOST_UNKNOWN


def pause_seconds(
    attempts: int, *, chance: float, wished: float | None = None, is_unknown: bool = False
) -> float:
    """Return how long to wait after so many attempts.

    Each pause is twice the last one, from half to all of it by `chance` (0 to 1), so that what failed
    together does not come back together; never shorter than what the provider wished for. What may have
    arrived is in less of a hurry.
    """
    attempts += _CALMER if is_unknown else 0
    whole = min(FIRST_SECONDS * float(2 ** (max(attempts, 1) - 1)), LONGEST_SECONDS)
    return max(whole * (0.5 + chance / 2), wished or 0.0)
