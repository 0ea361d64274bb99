"""Events as streams carry them, and what a run at work has said so far."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from engine.core.json import dump
from engine.domains.runs import FENCE_SHIFT, RunEvent

STARTS = ("run.started", "run.restarted")
ENDS = ("run.completed", "run.failed", "run.cancelled")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: encoded once, sent to many. `no` is None for words, which have `seq`."""

    no: int | None
    kind: str
    data: dict[str, Any]
    encoded: bytes
    seq: int = 0


def encode(kind: str, data: Any, no: int | None = None) -> bytes:
    """Write an event as it goes over the wire."""
    number = b"" if no is None else b"id: %d\n" % no
    return b"%sevent: %s\ndata: %s\n\n" % (number, kind.encode(), dump(data))


def unnumbered(kind: str, data: dict[str, Any], *, seq: int = 0) -> Event:
    """Return an event that is not in the log, and that nobody resumes from."""
    return Event(None, kind, data, encode(kind, data), seq)


def follows(no: int, last: int) -> bool:
    """Whether a run's event is the next one, or the first one of a later attempt."""
    starts_anew = no >> FENCE_SHIFT > max(last, 0) >> FENCE_SHIFT and not no & ((1 << FENCE_SHIFT) - 1)
    return no == last + 1 or starts_anew


@dataclass(slots=True)
class LiveRun:
    """What a run at work has said so far."""

    org_id: UUID
    chat_id: UUID
    run_id: UUID
    answer_id: UUID
    last_id: int = -1
    said: list[str] = field(default_factory=list)
    # Events beyond a gap: this process came later than the run, or the relay has lost some.
    early: dict[int, RunEvent] = field(default_factory=dict)
    mending: asyncio.Task[None] | None = None
    is_held: bool = False  # The log has not told its start yet, and nobody may hear words before it.
    has_ended: bool = False

    @property
    def attempt(self) -> int:
        """Which attempt at the run was heard last: its fence, or -1 before anything was heard."""
        return self.last_id >> FENCE_SHIFT

    def take(self, item: RunEvent) -> None:
        """Add what was said, or forget what an attempt that is over has said."""
        self.last_id = item.id
        if item.kind == "run.delta":
            self.said.append(item.data["text"])
        elif item.kind in STARTS:
            self.said.clear()
        self.has_ended = item.kind in ENDS

    def take_early(self) -> None:
        """Add what was heard beyond a gap and is now next."""
        for no in sorted(self.early):
            if no > self.last_id:
                if not follows(no, self.last_id):
                    return
                self.take(self.early[no])
            del self.early[no]

    def snapshot(self) -> Event:
        """Return all so far as one event; with the deltas of greater seq it equals the answer."""
        text = "".join(self.said)
        self.said = [text]
        data = {"run_id": self.run_id, "message_id": self.answer_id, "seq": self.last_id, "text": text}
        return unnumbered("run.snapshot", data, seq=self.last_id)
