"""What a run may reach, and what it tells while it works."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, Literal
from uuid import UUID

from engine.domains.runs import ChatModel, ModelMessage, TokenUsage
from engine.graphs.limits import Budget, Limit
from engine.roles import Role
from engine.tools import Toolbox

Status = Literal["started", "done", "failed"]


@dataclass(frozen=True, slots=True)
class ModelUse:
    """One call of a model: who spoke, with which words, how much and how fast."""

    role: str
    version: str
    step: int
    usage: TokenUsage
    ms: int
    first_token_ms: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a role said; `text` is exactly what `say` was given. `limit` names the one that ended it."""

    text: str
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where a run keeps its finished steps; `open` gives a saver of LangGraph's, or None if there is none."""

    run_id: UUID
    open: Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(slots=True)
class RunContext:
    """One run of one role.

    The worker gives everything up to `checkpoints`. `conversation` is oldest first and ends with the
    question. `colleagues` are the roles this one may be told of, `find_role` finds no others.
    `instruction` is the organization's own for this role, `instructions` those for others, by code.
    `call_tokens` bounds what a single call asks the model to write, where its window is small.
    `checkpoints` let a council go on where an earlier attempt was killed; without them it begins anew.
    """

    role: Role
    find_role: Callable[[str], Role | None]
    model: ChatModel
    organization: str
    asker: str
    chat_title: str
    locale: str
    timezone: str
    now: datetime
    conversation: tuple[ModelMessage, ...]
    tools: Toolbox
    say: Callable[[str], None]
    report: Callable[[dict[str, Any]], None]
    record_use: Callable[[ModelUse], None]
    instruction: str = ""
    instructions: Mapping[str, str] = field(default_factory=dict)
    colleagues: tuple[Role, ...] = ()
    call_tokens: int | None = None
    checkpoints: Checkpoints | None = None

    budget: Budget = field(init=False)
    lineage: tuple[str, ...] = field(init=False)
    said: list[str] = field(init=False, default_factory=list)
    changes: list[str] = field(init=False, default_factory=list)  # made by tools, in words for people
    ends_at: float = field(init=False, default=inf)  # on the loop's clock

    def __post_init__(self) -> None:
        self.budget = Budget(self.role.limits)
        self.lineage = (self.role.code,)

    def utter(self, piece: str) -> None:
        """Say a piece of the answer. This is on the path of every token."""
        self.said.append(piece)
        self.say(piece)

    def quiet(self) -> "RunContext":
        """Give the same run with nothing said aloud; the limits stay shared."""
        other = copy(self)
        other.say, other.said = _to_nobody, []
        return other

    def as_role(self, role: Role, conversation: tuple[ModelMessage, ...], budget: Budget) -> "RunContext":
        """Give a quiet part of this run in which another role answers."""
        other = self.quiet()
        other.role, other.conversation, other.budget = role, conversation, budget
        other.lineage = (*self.lineage, role.code)
        other.instruction = self.instructions.get(role.code, "")
        other.checkpoints = None  # One run, one thread: what is asked within it is asked again as a whole.
        return other

    def tell(self, kind: str, name: str, status: Status, detail: str | None = None) -> None:
        """Report progress to those who watch the run."""
        event = {"kind": kind, "role": self.role.code, "name": name, "status": status}
        self.report(event if detail is None else {**event, "detail": detail})


def _to_nobody(piece: str) -> None:
    pass
