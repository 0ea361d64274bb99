"""Does in one transaction what several callers ask of one organization at the same moment.

Each commit of an organization waits for the one before (decision 0006), and each statement is a round trip:
both are paid once for all who ask meanwhile. Whoever asks alone waits for nobody.
"""

import asyncio
from asyncio import timeout as _within
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

import asyncpg

from engine.core.database import Database, DatabaseAway, Transaction
from engine.core.errors import Refusal

AT_ONCE = 2  # One is at work while the other waits for the disk.
LOCK_SECONDS = 1  # Whoever is held up for longer is done by itself, so that the others need not wait.
ANSWER_SECONDS = 60  # A connection and every statement have shorter limits of their own.

Asked = TypeVar("Asked")
Given = TypeVar("Given")


@dataclass(slots=True, eq=False)
class _Request(Generic[Asked, Given]):
    asked: Asked
    answer: asyncio.Future[Given]


class Together(Generic[Asked, Given]):
    """Gathers what is asked while earlier transactions are under way."""

    def __init__(
        self,
        database: Database,
        do: Callable[[Transaction, list[Asked]], Awaitable[Sequence[Given | Refusal]]],
        *,
        apart: Callable[[Asked], Hashable],
        most: int = 32,
    ) -> None:
        """Use `do` for up to `most` requests; those for which `apart` is the same are never done together.

        It returns for each what came of it, or a refusal of it alone, and raises what takes back everything.
        """
        self._database = database
        self._do = do
        self._apart = apart
        self._most = most
        self._waiting: dict[UUID, list[_Request[Asked, Given]]] = defaultdict(list)
        self._opening: set[UUID] = set()  # organizations for which a transaction begins, and takes what waits
        self._at_work: dict[UUID, set[asyncio.Task[None]]] = defaultdict(set)

    async def ask(self, org_id: UUID, asked: Asked) -> Given:
        """Have something done and return what came of it, once that is on disk.

        Raises what refuses this request alone: when `do` raises, or is held up, each is done by itself.
        Whoever stops waiting before it has begun has asked for nothing.
        """
        request: _Request[Asked, Given] = _Request(asked, asyncio.get_running_loop().create_future())
        self._waiting[org_id].append(request)
        self._begin(org_id)
        try:
            async with _within(ANSWER_SECONDS):
                return await request.answer
        except TimeoutError as late:
            raise DatabaseAway from late

    def _begin(self, org_id: UUID) -> None:
        if self._waiting.get(org_id) and org_id not in self._opening and len(self._at_work[org_id]) < AT_ONCE:
            self._opening.add(org_id)
            # In no caller's context: what it logs is about all of them.
            task = asyncio.get_running_loop().create_task(self._work(org_id), context=Context())
            self._at_work[org_id].add(task)
            task.add_done_callback(partial(self._ended, org_id))

    def _ended(self, org_id: UUID, task: asyncio.Task[None]) -> None:
        self._at_work[org_id].discard(task)
        self._begin(org_id)
        if not self._at_work[org_id]:
            del self._at_work[org_id]

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way, so that no transaction outlives those who serve its callers."""
        if tasks := [task for tasks in self._at_work.values() for task in tasks]:
            await asyncio.wait(tasks, timeout=seconds)

    def _take(self, org_id: UUID, *, is_away: bool = False) -> list[_Request[Asked, Given]]:
        """Return what is to be done in the transaction that was opened; all, when none could be."""
        self._opening.discard(org_id)
        waiting = [request for request in self._waiting.pop(org_id, ()) if not request.answer.done()]
        if is_away:
            return waiting
        batch: dict[Hashable, _Request[Asked, Given]] = {}
        left: list[_Request[Asked, Given]] = []
        for request in waiting:
            key = self._apart(request.asked)
            if len(batch) < self._most and key not in batch:
                batch[key] = request
            else:
                left.append(request)
        if left:
            self._waiting[org_id] = left
            self._begin(org_id)
        return list(batch.values())

    async def _work(self, org_id: UUID) -> None:
        batch: list[_Request[Asked, Given]] | None = None
        given: Sequence[Given | Refusal] | None = None
        try:
            async with self._database.as_organization(
                org_id, plans_once=True, lock_seconds=LOCK_SECONDS
            ) as tx:
                batch = self._take(org_id)
                given = await self._do(tx, [request.asked for request in batch]) if batch else []
        except Exception as error:  # noqa: BLE001 - it is the callers' to hear
            if batch is None:
                _fail(self._take(org_id, is_away=True), error)
            elif _is_of_one(error, batch, is_done=given is not None):
                await asyncio.gather(*(self._work_alone(org_id, request) for request in batch))
            else:
                # Of a commit that failed nobody knows what has become true, so nothing is done twice.
                _fail(batch, error)
        else:
            _answer(batch, given)

    async def _work_alone(self, org_id: UUID, request: _Request[Asked, Given]) -> None:
        if request.answer.done():
            return
        try:
            async with self._database.as_organization(org_id, plans_once=True) as tx:
                given = await self._do(tx, [request.asked])
        except Exception as error:  # noqa: BLE001 - it is the caller's to hear
            _fail([request], error)
        else:
            _answer([request], given)


def _is_of_one(error: Exception, batch: list[_Request[Asked, Given]], *, is_done: bool) -> bool:
    """Whether nothing has become true, and each may fare better by itself."""
    if isinstance(error, asyncpg.LockNotAvailableError):
        return True  # Alone it waits for longer; the log's counter is waited for before the commit, too.
    return not is_done and len(batch) > 1 and not isinstance(error, DatabaseAway)


def _answer(batch: list[_Request[Asked, Given]], given: Sequence[Given | Refusal]) -> None:
    for request, answer in zip(batch, given, strict=True):
        if isinstance(answer, Refusal):
            _fail([request], answer)
        elif not request.answer.done():
            request.answer.set_result(answer)


def _fail(requests: list[_Request[Asked, Given]], error: Exception) -> None:
    for request in requests:
        if not request.answer.done():
            request.answer.set_exception(error)
