"""Writes what attempts do: starts, steps, words and ends, many runs in one transaction.

One task writes everything, in the order in which it happened, so a run's end can never be on disk
before its words.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from traceback import format_tb
from typing import Any, Literal
from uuid import UUID

import asyncpg

from engine.core.database import Database, DatabaseAway, Transaction
from engine.core.logging import log
from engine.domains import runs
from engine.domains.runs import Outcome, RunEvent, ToolUse
from engine.worker.attempt import Attempt

WORDS_SECONDS = 0.3  # Words are live at once; rows of them are for those who come back.
RETRY_SECONDS = 0.2


@dataclass(slots=True)
class Entry:
    """What is to be written of one attempt."""

    attempt: Attempt
    is_start: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)
    tool_uses: list[ToolUse] = field(default_factory=list)
    events: list[RunEvent] = field(default_factory=list)
    outcome: Outcome | None = None
    is_bare: bool = False  # it holds so little that there is nothing left to leave out
    done: Callable[[], None] = lambda: None

    @property
    def is_only_words(self) -> bool:
        return not (self.is_start or self.steps or self.tool_uses or self.outcome)


class Recorder:
    """The pen of a worker."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unwritten: list[Entry] = []
        self._talking: set[Attempt] = set()
        self._words_due = 0.0
        self._soon = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, attempt: Attempt) -> None:
        """Announce that a role is at work; until then nothing is heard of it."""
        self._add(Entry(attempt, is_start=True))
        self._talking.add(attempt)  # Its first event is written with its first words.

    def step(self, attempt: Attempt) -> None:
        """Write the attempt's new steps soon."""
        self._add(Entry(attempt, steps=attempt.take_steps(), events=attempt.take_events()))

    def words(self, attempt: Attempt) -> None:
        """Write the attempt's new words within a moment, with those of others."""
        self._talking.add(attempt)

    def finish(self, attempt: Attempt, outcome: Outcome, done: Callable[[], None]) -> None:
        """Write the end of an attempt; `done` is called when it is written or can never be."""
        self._talking.discard(attempt)
        entry = Entry(attempt, steps=attempt.take_steps(), outcome=outcome, done=done)
        entry.tool_uses = attempt.take_tool_uses()
        self._add(entry)

    async def drain(self) -> None:
        """Wait until all is written."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            try:
                async with asyncio.timeout(WORDS_SECONDS):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()
            self._collect_words()
            if self._unwritten:
                await self._write()
            if not self._unwritten:
                self._idle.set()

    def _add(self, entry: Entry) -> None:
        entry.tool_uses = [*entry.tool_uses, *entry.attempt.take_tool_uses()]
        self._unwritten.append(entry)
        self._idle.clear()
        self._soon.set()

    def _collect_words(self) -> None:
        if self._talking and monotonic() >= self._words_due:
            self._words_due = monotonic() + WORDS_SECONDS
            talking, self._talking = self._talking, set()
            self._unwritten += [Entry(attempt, events=attempt.take_events()) for attempt in talking]

    async def _write(self) -> None:
        by_organization: dict[UUID, list[Entry]] = defaultdict(list)
        for entry in self._unwritten:
            by_organization[entry.attempt.claim.org_id].append(entry)
        self._unwritten = []
        for org_id, entries in by_organization.items():
            try:
                await self._write_together(org_id, entries)
            except (DatabaseAway, asyncpg.TransactionRollbackError) as away:
                log.warning("database_away", error=repr(away.__cause__), waiting=len(entries))
                self._unwritten = [*entries, *self._unwritten]
                await asyncio.sleep(RETRY_SECONDS)
                self._soon.set()

    async def _write_together(self, org_id: UUID, entries: list[Entry]) -> None:
        try:
            await self._write_once(org_id, entries)
        except (DatabaseAway, asyncpg.TransactionRollbackError):
            raise
        except Exception as error:  # noqa: BLE001 - one cannot be written: the others must not suffer
            if len(entries) > 1:
                for entry in entries:
                    await self._write_together(org_id, [entry])
            else:
                await self._write_failure(org_id, entries[0], error)

    async def _write_failure(self, org_id: UUID, entry: Entry, error: Exception) -> None:
        claim = entry.attempt.claim
        # Not the error's own words: they quote what was to be written.
        log.error(
            "run_not_recorded",
            org_id=str(org_id),
            run_id=str(claim.id),
            error=type(error).__name__,
            sqlstate=getattr(error, "sqlstate", None),
            at="Traceback:\n" + "".join(format_tb(error.__traceback__)),
        )
        if entry.is_start:
            entry.attempt.announced()  # It goes on, and its end tells what became of it.
        if entry.outcome is None or entry.is_bare:
            entry.done()  # Its lease runs out, and whoever takes it over counts one attempt more.
            return
        bare = Entry(entry.attempt, outcome=_bare(entry.outcome), is_bare=True, done=entry.done)
        await self._write_together(org_id, [bare])

    async def _write_once(self, org_id: UUID, entries: list[Entry]) -> None:
        durable = not all(entry.is_only_words for entry in entries)
        async with self._database.as_organization(org_id, durable=durable, plans_once=True) as tx:
            await _write_entries(tx, entries)
        ended = {entry.attempt for entry in entries if entry.outcome is not None}
        for entry in entries:
            if entry.is_start and entry.attempt not in ended:
                entry.attempt.announced()
            if entry.outcome is not None:
                entry.done()


def _bare(outcome: Outcome) -> Outcome:
    """Return an end made of nothing but our own words: any other part may be what cannot be written."""
    code, detail = "internal_error", "The end of this run could not be stored; the error is in the log."
    is_cancelled = outcome.status == "cancelled"
    data = {} if is_cancelled else {"code": code, "detail": detail}
    status: Literal["cancelled", "failed"] = "cancelled" if is_cancelled else "failed"
    return Outcome(
        claim=outcome.claim,
        status=status,
        error_code=None if is_cancelled else code,
        error_detail=None if is_cancelled else detail,
        has_checkpoints=outcome.has_checkpoints,
        unwritten=[RunEvent(outcome.unwritten[-1].id, f"run.{status}", data)],
    )


async def _write_entries(tx: Transaction, entries: list[Entry]) -> None:
    for entry in entries:
        if entry.is_start:
            runs.announce_start(tx, entry.attempt.claim)
        for step in entry.steps:
            runs.announce_step(tx, entry.attempt.claim, step)
    await runs.write_events(tx, [(entry.attempt.claim.id, entry.events) for entry in entries])
    for entry in entries:
        if entry.tool_uses:
            await runs.record_tools(tx, entry.attempt.claim, entry.tool_uses)
    outcomes = [entry.outcome for entry in entries if entry.outcome is not None]
    if outcomes:
        await runs.finish(tx, outcomes)
