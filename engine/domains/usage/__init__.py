"""Usage is what the models cost: one row for every call, in tokens and milliseconds."""

from engine.domains.usage.models import ModelCall
from engine.domains.usage.service import record_calls

__all__ = ["ModelCall", "record_calls"]
