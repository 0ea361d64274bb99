"""Claims runs and works them, many at a time in one event loop; hosted in process or by a Ray actor."""

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from engine import graphs
from engine.core.database import Database, Transaction
from engine.core.errors import Refusal
from engine.core.logging import log
from engine.core.settings import Settings
from engine.domains import runs
from engine.domains.runs import (
    CancelRequested,
    ChatModel,
    Claim,
    Outcome,
    RunsOffered,
    RunsQueued,
    RunsTaken,
    Taker,
)
from engine.roles import DEFAULT_POOL, Catalogue
from engine.tools import every_tool
from engine.worker.attempt import Attempt, Stop
from engine.worker.briefing import Briefing, brief
from engine.worker.context import run_context
from engine.worker.recorder import Recorder

POLL_SECONDS = 1.0  # Wakes come by the feed; this finds what it lost, and what dead workers left.
CANCEL_POLL_SECONDS = 0.5
# Tokens that come closer together than this are heard together; the more talk at once, the longer.
SPEAK_SECONDS = 0.025
SPEAK_SECONDS_PER_RUN = 0.0002
SPEAK_SECONDS_AT_MOST = 0.1
RESTART_SECONDS = 1.0
STOP_SECONDS = 6.0
MOST_ATTEMPTS = 5
SEARCHES_AT_ONCE = 2
CLAIM_BATCH = 64
_PART_OF_THE_WINDOW = 3  # One call may write so much of it; the rest is what it reads.


class Worker:
    """One worker; several may work on one database, in any number of processes.

    `run_until_stopped` works until somebody awaits `stop`, which hands unfinished runs back.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        roles: Catalogue,
        model: Callable[[], ChatModel],
        *,
        checkpoints: Callable[[UUID], AbstractAsyncContextManager[Any]] | None = None,
        pool: str | None = None,
    ) -> None:
        """Make one that takes the runs of one pool's roles, or of all roles without a pool."""
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._settings = settings
        self._database = database
        self._roles = roles
        self._model = model
        self._checkpoints = checkpoints
        self._pool = pool
        self._tools = every_tool()
        self._call_tokens = (
            settings.model_answer_tokens or settings.model_context_tokens // _PART_OF_THE_WINDOW
        )
        self._attempts: dict[UUID, Attempt] = {}
        self._taken: list[Claim] = []
        self._look_due = 0.0  # when to look into the queue again
        self._talking: set[Attempt] = set()
        self._searches = asyncio.Semaphore(SEARCHES_AT_ONCE)
        self._recorder = Recorder(database)
        self._kept_versions: set[str] = set()
        self._wake = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._is_stopping = False
        self._is_resting = False
        self._claiming: asyncio.Task[None] | None = None
        self._loops: list[asyncio.Task[None]] = []
        database.bus.on(RunsOffered, self._offer)
        database.feed.on(RunsTaken, self._take)
        database.feed.on(RunsQueued, self._hear_of_work)
        database.feed.on(CancelRequested, self._hear_of_wish)

    @property
    def runs_in_hand(self) -> int:
        """How many runs are at work here."""
        return len(self._attempts)

    async def run_until_stopped(self) -> None:
        """Work; a loop that fails is logged and started anew, because silence would be worse."""
        self._claiming = asyncio.create_task(_keep_alive("claim", self._claim_loop))
        self._loops = [
            asyncio.create_task(_keep_alive("record", self._recorder.run)),
            asyncio.create_task(_keep_alive("renew", self._renew_loop)),
            asyncio.create_task(_keep_alive("cancel", self._cancel_loop)),
        ]
        await asyncio.wait([self._claiming, *self._loops])

    def rest(self, is_resting: bool) -> None:
        """Take no more runs while resting; those in hand go on."""
        if self._is_resting and not is_resting:
            self._look()
        self._is_resting = is_resting

    async def drain(self, seconds: float) -> int:
        """Take no more runs and wait until those in hand have ended; return how many have not in time."""
        self._is_stopping = True
        self._wake.set()
        try:
            async with asyncio.timeout(seconds):
                if self._claiming is not None:
                    await asyncio.wait([self._claiming])
                await self._is_empty.wait()
        except TimeoutError:
            pass
        return len(self._attempts)

    async def stop(self) -> None:
        """Record what has ended and hand back what has not, within a few seconds."""
        self._is_stopping = True
        self._database.bus.off(RunsOffered, self._offer)
        self._database.feed.off(RunsTaken, self._take)
        self._database.feed.off(RunsQueued, self._hear_of_work)
        self._database.feed.off(CancelRequested, self._hear_of_wish)
        self._wake.set()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                if self._claiming is not None:
                    await self._claiming
                unfinished = [*self._taken, *(attempt.claim for attempt in self._attempts.values())]
                for attempt in list(self._attempts.values()):
                    _interrupt(attempt, "handed_back")
                tasks = [attempt.task for attempt in self._attempts.values() if attempt.task]
                await asyncio.gather(*tasks, return_exceptions=True)
                if self._loops:
                    await self._recorder.drain()
                if unfinished:
                    async with self._database.across_organizations(reason="hand runs back") as tx:
                        await runs.hand_back(tx, unfinished)
        except TimeoutError:
            log.warning("worker_stopped_late", runs=len(self._attempts))  # Their leases run out instead.
        loops = [*self._loops, *([self._claiming] if self._claiming else [])]
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    # Finding work.

    async def _offer(self, _: Transaction, offered: RunsOffered) -> Taker | None:
        """Take runs in the transaction that queues them: that saves a question its way through the queue."""
        room = self._most_runs() - len(self._attempts) - len(self._taken)
        if self._claiming is None or self._is_stopping or self._is_resting or room <= 0:
            return None
        share = self._roles.share_of(self._pool)
        wanted: list[bool] = []
        for code in offered.role_codes:
            wanted.append(sum(wanted) < room and share.has(code))
        return Taker(self.name, self._settings.lease_seconds, tuple(wanted))

    def _take(self, taken: RunsTaken) -> None:
        if taken.worker == self.name:
            self._taken += taken.claims
            self._wake.set()

    def _hear_of_work(self, queued: RunsQueued) -> None:
        share = self._roles.share_of(self._pool)
        if not queued.role_codes or any(share.has(code) for code in queued.role_codes):
            self._look()

    def _look(self) -> None:
        self._look_due = 0.0
        self._wake.set()

    def _hear_of_wish(self, wish: CancelRequested) -> None:
        self._cancel(wish.run_id)

    def _most_runs(self) -> int:
        pool = self._roles.pools().get(self._pool or DEFAULT_POOL)
        return (pool and pool.resources.concurrency) or self._settings.worker_runs

    async def _claim_loop(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            if self._taken:
                taken, self._taken = self._taken, []
                await self._begin_all(taken)
            room = 0 if self._is_resting else self._most_runs() - len(self._attempts)
            if room > 0 and monotonic() >= self._look_due:
                self._look_due = monotonic() + POLL_SECONDS
                if await self._claim(min(room, CLAIM_BATCH)) == CLAIM_BATCH:
                    self._look()
            pause = max(self._look_due - monotonic(), 0) if room > 0 else POLL_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _claim(self, count: int) -> int:
        async with self._database.across_organizations(reason="claim runs") as tx:
            claims = await runs.claim(
                tx,
                worker=self.name,
                count=count,
                lease_seconds=self._settings.lease_seconds,
                share=self._roles.share_of(self._pool),
            )
        await self._begin_all(claims)
        return len(claims)

    async def _begin_all(self, claims: list[Claim]) -> None:
        by_organization: dict[UUID, list[Claim]] = defaultdict(list)
        for claim in claims:
            by_organization[claim.org_id].append(claim)
        for org_id, theirs in by_organization.items():
            try:
                await self._begin(org_id, theirs)
            except Exception:  # noqa: BLE001 - their leases run out; other organizations go on
                # Where only the end of the briefing's transaction failed, they are at work all the same.
                waiting = sum(claim.id not in self._attempts for claim in theirs)
                log.exception("briefing_failed", org_id=str(org_id), runs_not_begun=waiting)

    async def _begin(self, org_id: UUID, claims: list[Claim]) -> None:
        """Start attempts of one organization; all are told what they need in one transaction."""
        hopeful = [claim for claim in claims if claim.attempts <= MOST_ATTEMPTS]
        await self._keep_versions(org_id, hopeful)
        window = self._settings.model_context_tokens
        async with self._database.as_organization(org_id, plans_once=True) as tx:
            briefings = await brief(tx, hopeful, self._roles, window_tokens=window) if hopeful else {}
            self._start(claims, briefings)  # Nothing was written, so they need not wait for the end of this.

    async def _keep_versions(self, org_id: UUID, claims: list[Claim]) -> None:
        """Keep what the roles of some runs say, which a run's end refers to, once for each worker."""
        roles = {role for claim in claims if (role := self._roles.get(claim.role_code))}
        new_roles = [role for role in roles if role.version not in self._kept_versions]
        if not new_roles:
            return
        async with self._database.as_organization(org_id) as tx:
            for role in new_roles:
                await runs.keep_role_version(
                    tx, version=role.version, role_code=role.code, definition=role.definition
                )
        self._kept_versions.update(role.version for role in new_roles)

    def _start(self, claims: list[Claim], briefings: dict[UUID, Briefing]) -> None:
        model = self._model()
        for claim in claims:
            if (older := self._attempts.get(claim.id)) is not None:
                _interrupt(older, "lost")  # Its lease ran out while this process stood still.
            attempt = Attempt(claim, self._database.feed, model.provider, model.name)
            self._attempts[claim.id] = attempt
            self._is_empty.clear()
            self._recorder.start(attempt)
            attempt.task = asyncio.create_task(self._work(attempt, briefings.get(claim.id), model))
            attempt.task.add_done_callback(partial(self._worked, attempt))

    # Working.

    async def _work(self, attempt: Attempt, briefing: Briefing | None, model: ChatModel) -> None:
        claim = attempt.claim
        outcome: Outcome | None = None
        try:
            outcome = await self._outcome(attempt, briefing, model)
        except asyncio.CancelledError:
            if attempt.stop == "cancelled":
                outcome = attempt.cancelled()
        self._talking.discard(attempt)
        if outcome is None:
            self._forget(attempt)  # Handed back or lost: somebody else will end it.
            return
        log.info(
            "run_ended",
            org_id=str(claim.org_id),
            run_id=str(claim.id),
            role=claim.role_code,
            status=outcome.status,
            code=outcome.error_code,
            limit=outcome.limit_hit,
            seconds=round(attempt.seconds, 3),
        )
        # It stays in hand, and its lease is renewed, until the end is on disk.
        self._recorder.finish(attempt, outcome, partial(self._forget, attempt))

    async def _outcome(self, attempt: Attempt, briefing: Briefing | None, model: ChatModel) -> Outcome:
        claim = attempt.claim
        role = self._roles.get(claim.role_code)
        checkpoints: graphs.Checkpoints | None = None
        if role is not None and role.agent_type == "multi_agent" and self._checkpoints is not None:
            checkpoints = graphs.Checkpoints(claim.id, partial(self._checkpoints, claim.org_id))
            attempt.has_checkpoints = True
        if claim.cancel_requested:
            return attempt.cancelled()
        if claim.attempts > MOST_ATTEMPTS:
            return attempt.failed("worker_lost", f"The engine stopped {MOST_ATTEMPTS} times during this run.")
        if role is None or briefing is None or not briefing.is_enabled(role.code):
            return attempt.failed("role_unavailable", "This role cannot be called now.")
        attempt.role_version = role.version
        context = run_context(
            attempt,
            briefing,
            role,
            roles=self._roles,
            model=model,
            tools=self._tools,
            database=self._database,
            searches=self._searches,
            call_tokens=self._call_tokens,
            checkpoints=checkpoints,
            say=partial(self._say, attempt),
            step=partial(self._recorder.step, attempt),
        )
        try:
            answer = await graphs.answer(context)
        except Refusal as refusal:
            return attempt.failed(refusal.code, refusal.message)
        except Exception:  # noqa: BLE001 - a bug ends one run, is logged once, and is told
            log.exception("run_broke", org_id=str(claim.org_id), run_id=str(claim.id))
            return attempt.failed("internal_error", "The engine failed here; the error is in its log.")
        approvers = list(role.validation.approvers) if role.validation.required else None
        return attempt.completed(
            answer.text,
            limit=answer.limit,
            approvers=approvers,
            sign_within_hours=role.validation.hours,
        )

    def _say(self, attempt: Attempt, piece: str) -> None:
        attempt.say(piece)
        if attempt in self._talking:
            return
        self._talking.add(attempt)
        seconds = min(SPEAK_SECONDS + SPEAK_SECONDS_PER_RUN * len(self._attempts), SPEAK_SECONDS_AT_MOST)
        # Often that time has passed: then at once, but together with what else arrived with this piece.
        asyncio.get_running_loop().call_at(attempt.spoke_at + seconds, self._speak, attempt)

    def _speak(self, attempt: Attempt) -> None:
        if attempt in self._talking:  # It has not ended meanwhile.
            self._talking.discard(attempt)
            attempt.speak()
            self._recorder.words(attempt)

    def _worked(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs no line of `_work`; nor may a bug keep the
        # lease alive. Let go, the run is claimed again when the lease has run out.
        if task.cancelled():
            self._forget(attempt)
        elif (error := task.exception()) is not None:
            log.error("attempt_broke", run_id=str(attempt.claim.id), exc_info=error)
            self._forget(attempt)

    def _forget(self, attempt: Attempt) -> None:
        if len(self._attempts) >= self._most_runs():
            self._look()  # It had no room until now, so nobody told it of what waits.
        if self._attempts.get(attempt.claim.id) is attempt:
            del self._attempts[attempt.claim.id]
        if not self._attempts:
            self._is_empty.set()

    # Staying the holder.

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            attempts = list(self._attempts.values())
            if not attempts:
                continue
            async with self._database.across_organizations(reason="renew leases") as tx:
                held = await runs.renew(
                    tx, [attempt.claim for attempt in attempts], lease_seconds=self._settings.lease_seconds
                )
            for attempt in attempts:
                if attempt.claim.id not in held and self._attempts.get(attempt.claim.id) is attempt:
                    log.warning("run_lost", org_id=str(attempt.claim.org_id), run_id=str(attempt.claim.id))
                    _interrupt(attempt, "lost")

    async def _cancel_loop(self) -> None:
        """Find wishes to stop that were said to another process."""
        while True:
            await asyncio.sleep(CANCEL_POLL_SECONDS)
            if self._attempts:
                async with self._database.across_organizations(reason="find cancelled runs") as tx:
                    wanted = await runs.cancel_requests(tx, worker=self.name)
                for run_id in wanted:
                    self._cancel(run_id)

    def _cancel(self, run_id: UUID) -> None:
        attempt = self._attempts.get(run_id)
        if attempt is not None:
            _interrupt(attempt, "cancelled")


def _interrupt(attempt: Attempt, why: Stop) -> None:
    if attempt.stop is None and attempt.task is not None:
        attempt.stop = why
        attempt.task.cancel()


async def _keep_alive(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await loop()
            return
        except Exception:  # noqa: BLE001 - silence would be worse than another try
            log.exception("worker_loop_failed", loop=name)
            await asyncio.sleep(RESTART_SECONDS)
