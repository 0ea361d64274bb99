"""How a role thinks: simple, chain, multi_agent. Importing this does not import LangGraph."""

from engine.graphs.context import Answer, Checkpoints, ModelUse, RunContext
from engine.graphs.drawings import drawing_of
from engine.graphs.limits import Limit
from engine.graphs.running import answer, build_all, consult

__all__ = [
    "Answer",
    "Checkpoints",
    "Limit",
    "ModelUse",
    "RunContext",
    "answer",
    "build_all",
    "consult",
    "drawing_of",
]
