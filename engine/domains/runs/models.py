"""Runs: what a role was asked to do, how far it is, and what is heard of it while it works."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from engine.domains.chats import Message
from engine.domains.usage import ModelCall

RunStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
FENCE_SHIFT = 20  # An event's id is fence << 20 | n: a successor's events always sort above.


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a role by a message."""

    id: UUID
    chat_id: UUID
    message_id: UUID
    answer_id: UUID
    role_code: str
    asker_id: UUID
    status: RunStatus
    fence: int
    role_version: str | None
    model: str | None
    limit_hit: str | None
    error_code: str | None
    error_detail: str | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunNow:
    """A run that waits or works, as an administrator sees it."""

    run: Run
    worker: str | None
    attempts: int
    is_stopping: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many runs wait already, where more are asked for."""

    of_organization: int
    of_asker: int
    of_role: int  # in its chat; of several roles, the one with the most


@dataclass(frozen=True, slots=True)
class Marked:
    """What remains to be told of a run that was cancelled or marked to be."""

    id: UUID
    chat_id: UUID
    message_id: UUID
    asker_id: UUID
    role_code: str
    answer_id: UUID
    status: RunStatus
    fence: int


@dataclass(frozen=True, slots=True)
class Share:
    """The roles whose runs a worker takes: some only, or all (None) but some."""

    only: tuple[str, ...] | None = None
    but: tuple[str, ...] = ()

    def has(self, role_code: str) -> bool:
        """Whether runs of a role are in it."""
        return role_code not in self.but and (self.only is None or role_code in self.only)


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do: what could be taken now, for how long it has waited, and what is at work."""

    waiting: int = 0
    running: int = 0
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A run in a worker's hands, as long as its lease is renewed and nobody raised the fence."""

    org_id: UUID
    id: UUID
    chat_id: UUID
    message_id: UUID
    answer_id: UUID
    role_code: str
    asker_id: UUID
    fence: int
    attempts: int
    cancel_requested: bool

    @property
    def is_takeover(self) -> bool:
        """Whether somebody had begun it before; what was said live begins anew."""
        return self.fence > 1


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something heard of a run; ids grow, within an attempt one by one."""

    id: int
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunHeard:
    """Fed live to whoever follows a run in this process: events that are, or will soon be, rows."""

    org_id: UUID
    chat_id: UUID
    run_id: UUID
    answer_id: UUID
    events: list[RunEvent]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool that a run has used, as it stands in the audit."""

    place: int
    step: int
    call_id: str
    tool: str
    arguments: dict[str, Any]
    outcome: Literal["ok", "refused", "failed"]
    result: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `approvers` None: the answer needs no signature."""

    claim: Claim
    status: Literal["completed", "failed", "cancelled"]
    text: str = ""
    approvers: list[str] | None = None
    sign_within_hours: int | None = None  # None: it waits for a signature for ever
    role_version: str | None = None
    model: str | None = None
    limit_hit: str | None = None
    error_code: str | None = None
    error_detail: str | None = None
    calls: list[ModelCall] = field(default_factory=list)
    has_checkpoints: bool = False  # finished steps of it may be on disk; nobody needs them after this
    unwritten: list[RunEvent] = field(default_factory=list)  # what no row holds yet, the final event last


@dataclass(frozen=True, slots=True)
class RunsQueued:
    """There is work for some roles, or for any when none is named; wakes the workers that take it."""

    role_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunsOffered:
    """A run is being queued for each of these roles; a worker of this process with room gives a Taker."""

    role_codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Taker:
    """A worker that takes runs in the moment in which they are queued: of those offered, which it wants."""

    worker: str
    lease_seconds: float
    wanted: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class RunsTaken:
    """Runs were queued and are in a worker's hands already; told to it in its own process."""

    worker: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants a running run to stop; told to the workers of this process at once."""

    run_id: UUID


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker lives; `model` says which model it has and whether that is ready.

    One that stands in works only until others do.
    """

    worker: str
    model: dict[str, Any]
    stands_in: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaSeen:
    """A replica of a model lives: `url` is where it answers, None while it cannot; `detail` says why not.

    `busy` counts the answers it is writing. One that was started anew has another `replica` id.
    """

    replica: str
    model: str
    url: str | None
    slots: int
    busy: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AnswersPosted:
    """Runs ended with answers that are now messages; emitted in the transaction that posts them."""

    outcomes: list[Outcome]


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, for rooms that wait for it; `approvers` None: nobody has to sign its answer."""

    run_id: UUID
    chat_id: UUID
    message_id: UUID  # the question
    answer_id: UUID
    asker_id: UUID
    role_code: str
    status: Literal["completed", "failed", "cancelled"]
    error_code: str | None = None
    error_detail: str | None = None
    approvers: list[str] | None = None


@dataclass(frozen=True, slots=True)
class RunsEnded:
    """Runs ended, each in one of three ways; emitted in the transaction that ends them."""

    ends: list[RunEnd]


@dataclass(frozen=True, slots=True)
class Answered:
    """A role's answer just posted, for those who follow the chat; `approvers` None: nobody has to sign it."""

    message: Message
    approvers: list[str] | None
    run_id: UUID
    asker_id: UUID
