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

from engine.core.database import Database, DatabaseAway, Transaction
from engine.core.errors import Refusal

AT_ONCE = 2  # One is at work while the other waits for the disk.
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

        Raises what refuses this request alone: when `do` raises for several, each is done by itself.
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

    def _take(self, org_id: UUID) -> list[_Request[Asked, Given]]:
        self._opening.discard(org_id)
        batch: dict[Hashable, _Request[Asked, Given]] = {}
        left: list[_Request[Asked, Given]] = []
        for request in self._waiting.pop(org_id, ()):
            if request.answer.done():
                continue  # Its caller has left.
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
        for request in await self._answer(org_id, partial(self._take, org_id)):
            await self._answer(org_id, partial(list, [request]))

    async def _answer(
        self, org_id: UUID, take: Callable[[], list[_Request[Asked, Given]]]
    ) -> list[_Request[Asked, Given]]:
        """Do what is taken, once the transaction is open; return what has to be done one by one."""
        batch: list[_Request[Asked, Given]] = []
        is_done = False
        try:
            async with self._database.as_organization(org_id, plans_once=True) as tx:
                batch = take()
                given = await self._do(tx, [request.asked for request in batch]) if batch else []
                is_done = True
        except Exception as error:  # noqa: BLE001 - it is the callers' to hear
            # Of a commit that failed nobody knows what has become true, so nothing is done twice.
            if len(batch) > 1 and not is_done and not isinstance(error, DatabaseAway):
                return batch
            for request in batch or take():
                if not request.answer.done():
                    request.answer.set_exception(error)
            return []
        for request, answer in zip(batch, given, strict=True):
            if request.answer.done():
                continue  # Its caller has left.
            if isinstance(answer, Refusal):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)
        return []
