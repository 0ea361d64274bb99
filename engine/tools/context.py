"""What a tool may reach: a handful of functions that the worker binds for one run."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from engine.core.database import Transaction
from engine.core.errors import Forbidden
from engine.domains.chats import RoleNames
from engine.domains.users import Actor

Outcome = Literal["ok", "refused", "failed"]


class NobodyToAsk(Forbidden):
    code = "nobody_to_ask"


class NowhereToWork(Forbidden):
    code = "nowhere_to_work"


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message of this chat that a search found."""

    no: int
    speaker: str
    sent_at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class ToolRecord:
    """One use of a tool, for the audit trail; the arguments can be stored as JSON as they are."""

    role: str
    step: int
    call_id: str
    tool: str
    arguments: dict[str, Any]
    outcome: Outcome
    result_excerpt: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a run works, in whose name, and the way to the rooms; a tool's rights are those of who asked.

    `said_at` is when the question was said: a run may wait past midnight, and «завтра» means what it meant.
    """

    transaction: Callable[[], AbstractAsyncContextManager[Transaction]]
    actor: Actor
    chat_id: UUID
    run_id: UUID
    roles: RoleNames
    said_at: datetime


async def _nobody(code: str, question: str) -> str:
    raise NobodyToAsk("Спросить другую роль здесь нельзя.", role=code)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What the tools of one run may reach. Rights are checked behind these functions, not by tools.

    `locale` is of who asked, for what they are told of changes; what only a model reads is in Russian.
    `lineage` is the chain of role codes that led here, the role at work last. The graphs bind
    `ask_role`, `lineage` and `step`; whoever opens a toolbox gives the rest.
    """

    now: datetime
    timezone: str
    search_messages: Callable[[str, int], Awaitable[list[FoundMessage]]]
    record: Callable[[ToolRecord], None]
    ask_role: Callable[[str, str], Awaitable[str]] = field(default=_nobody)
    lineage: tuple[str, ...] = ()
    step: int = 0
    locale: str = "ru"
    workplace: Workplace | None = None

    def place(self) -> Workplace:
        """Return where the run works; raises NowhereToWork for one that only thinks."""
        if self.workplace is None:
            raise NowhereToWork("Этот инструмент здесь не работает. Обойдись без него.")
        return self.workplace
