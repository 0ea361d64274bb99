"""One model in several places: each call goes to one of them, and on to the next if that one dies silent.

Replicas that come and go are heard of through the feed, every second each; others are named once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from engine.adapters.models.balance import Balancer, Replica, Ticket
from engine.adapters.models.openai import OpenAIModel
from engine.adapters.models.wire import Limits
from engine.core.feed import Feed
from engine.core.logging import log
from engine.domains.runs import (
    ModelEnd,
    ModelHealth,
    ModelRequest,
    ModelTimeout,
    ModelUnavailable,
    ReplicaSeen,
)

SILENT_SECONDS = 5.0
LOOK_SECONDS = 1.0
SLOTS_UNTOLD = 256  # what vLLM writes at once by default; it queues the rest itself
_PREFIX_CHARACTERS = 512
_MOVABLE = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
)


class _SilentReplica(ModelUnavailable):
    """A replica was not told of for so long that it is taken for dead."""


class ReplicatedModel:
    """A model that has replicas. What one has begun to say is never said again by another.

    With a feed, replicas are those that were told of it within the last seconds, and a call waits for one
    to come. With addresses alone, a call fails when all that it may try have failed. `tools` are those of
    OpenAIModel.
    """

    def __init__(
        self,
        *,
        name: str,
        provider: str = "openai",
        api_key: str | None,
        limits: Limits | None = None,
        feed: Feed | None = None,
        urls: Sequence[str] = (),
        wanted: int | None = None,
        tools: Collection[str] | None = None,
    ) -> None:
        self.name = name
        self.provider = provider
        self._tools = tools
        self._limits = limits or Limits()
        # Whoever fails is left for another one, which is better than to ask the same one again.
        self._once = replace(self._limits, attempts=1)
        self._api_key = api_key
        self._feed = feed
        self._wanted = wanted or len(urls)
        self._named = [Replica(url, url, SLOTS_UNTOLD) for url in urls]
        self._balancer = Balancer()
        self._seen: dict[str, tuple[float, ReplicaSeen]] = {}
        self._lost: dict[str, float] = {}  # until when nobody is sent there
        self._clients: dict[str, OpenAIModel] = {}
        self._calls: dict[Ticket, asyncio.Event] = {}
        self._watching: asyncio.Task[None] | None = None
        self._is_closed = False
        self._alive: set[str] = set()
        self._settle()
        if feed is not None:
            feed.on(ReplicaSeen, self._take)

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        """Yield the answer as it is written; see ChatModel. Waits while every replica is busy."""
        return self._stream(request)

    async def check(self) -> ModelHealth:
        """Say how many replicas would answer, or what the others wait for."""
        self._settle()
        facts = {"provider": self.provider, "model": self.name, "wanted": self._wanted}
        if self._feed is None:
            states = await asyncio.gather(*(self._client(one).check() for one in self._named))
            ready = sum(state.ok for state in states)
            details = sorted({state.detail for state in states if not state.ok})
        else:
            ready = len(self._balancer.replicas())
            details = sorted({seen.detail for _, seen in self._seen.values() if seen.url is None})
        detail = f"{ready} of {self._wanted} replicas ready"
        if details:
            detail += f": {'; '.join(details[:3])}"
        return ModelHealth(ready > 0, detail, {**facts, "replicas": ready})

    async def close(self) -> None:
        """Let nobody wait any longer, and close every connection."""
        self._is_closed = True
        if self._feed is not None:
            self._feed.off(ReplicaSeen, self._take)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        for wake in self._calls.values():
            wake.set()
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    # One call.

    async def _stream(self, request: ModelRequest) -> AsyncGenerator[str | ModelEnd, None]:
        due = asyncio.get_running_loop().time() + self._limits.first_token_seconds
        ticket = Ticket(prefix_of(request))
        self._calls[ticket] = asyncio.Event()
        try:
            while True:
                replica = await self._room(ticket, due)
                parts: Any = self._client(replica).stream(request)
                async with aclosing(parts):
                    try:
                        part = await self._first_part(ticket, replica, parts, due)
                    except ModelUnavailable as refusal:
                        self._move_on(ticket, replica, refusal)
                        continue
                    yield part
                    async for part in parts:
                        yield part
                    return
        finally:
            del self._calls[ticket]
            self._wake(self._balancer.leave(ticket))

    async def _room(self, ticket: Ticket, due: float) -> Replica:
        """Return the replica that the call was sent to, once there is one with room."""
        self._settle()
        self._watch()
        if not self._balancer.enter(ticket):
            raise ModelUnavailable(f"Too many answers wait for {self.name}. Try again in a while.")
        try:
            async with asyncio.timeout_at(due):
                while ticket.replica is None and not self._is_closed:
                    self._calls[ticket].clear()
                    await self._calls[ticket].wait()
        except TimeoutError:
            detail = (await self.check()).detail
            raise ModelUnavailable(f"No replica of {self.name} had room in time ({detail}).") from None
        if ticket.replica is None:
            raise ModelUnavailable(f"The model {self.name} is closed.")
        return ticket.replica

    async def _first_part(
        self, ticket: Ticket, replica: Replica, parts: AsyncIterator[str | ModelEnd], due: float
    ) -> str | ModelEnd:
        """Return the first thing that is said; a replica that falls silent altogether is not waited for."""
        gone = self._calls[ticket]
        gone.clear()
        if replica.id not in self._alive:
            raise _SilentReplica(f"The replica {replica.id} is gone.")
        first = asyncio.ensure_future(anext(parts))
        silence = asyncio.ensure_future(gone.wait())
        try:
            left = due - asyncio.get_running_loop().time()
            await asyncio.wait((first, silence), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if first.done():
                return first.result()
            if silence.done():
                raise _SilentReplica(f"The replica {replica.id} is gone.")
            raise ModelTimeout(
                f"No word from {self.name} within {self._limits.first_token_seconds:g} s.",
                waited_seconds=round(self._limits.first_token_seconds),
            )
        finally:
            silence.cancel()
            if not first.done():
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)

    def _move_on(self, ticket: Ticket, replica: Replica, refusal: ModelUnavailable) -> None:
        """Leave a replica that failed before it said anything; raise the failure when that cannot help."""
        status = refusal.details.get("status")
        if isinstance(status, int) and status not in _MOVABLE and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise refusal  # It understood, and refuses: so would the others.
        log.warning("replica_failed", replica=replica.id, reason=refusal.message)
        self._wake(self._balancer.leave(ticket))
        if isinstance(refusal, _SilentReplica):
            return  # Perhaps only we did not listen: should it be heard again, it may be asked again.
        ticket.tried.add(replica.id)
        if status is None:
            self._lost[replica.id] = asyncio.get_running_loop().time() + SILENT_SECONDS
        self._settle()
        others = {one.id for one in self._balancer.replicas()} - ticket.tried
        if self._is_closed or ticket.is_exhausted or (self._feed is None and not others):
            raise refusal

    # Who is there.

    def _take(self, seen: ReplicaSeen) -> None:
        if seen.model == self.name:
            self._seen[seen.replica] = (asyncio.get_running_loop().time(), seen)
            self._settle()

    def _settle(self) -> None:
        """Let the balancer know who lives; whoever waits for a first word of another one moves on."""
        now = asyncio.get_running_loop().time()
        self._seen = {one: entry for one, entry in self._seen.items() if entry[0] > now - SILENT_SECONDS}
        self._lost = {one: until for one, until in self._lost.items() if until > now}
        told = [
            Replica(seen.replica, seen.url, seen.slots, seen.busy)
            for _, seen in self._seen.values()
            if seen.url is not None
        ]
        alive = [one for one in (*self._named, *told) if one.id not in self._lost]
        before, self._alive = self._alive, {one.id for one in alive}
        placed = self._balancer.settle(alive)
        if before - self._alive:
            self._wake([one for one in self._calls if one.replica and one.replica.id not in self._alive])
        self._wake(placed)

    def _wake(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            if (wake := self._calls.get(ticket)) is not None:
                wake.set()

    def _watch(self) -> None:
        """See to it that silence is noticed while calls are under way."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(
                self._look_again_and_again(), name=f"replicas of {self.name}"
            )

    async def _look_again_and_again(self) -> None:
        while self._calls and not self._is_closed:
            await asyncio.sleep(LOOK_SECONDS)
            self._settle()
            used = {ticket.replica.id for ticket in self._calls if ticket.replica is not None}
            kept = used | {one.id for one in self._balancer.replicas()}
            for unused in [one for one in self._clients if one not in kept]:
                await self._clients.pop(unused).close()

    def _client(self, replica: Replica) -> OpenAIModel:
        if (client := self._clients.get(replica.id)) is None:
            client = OpenAIModel(
                name=self.name,
                base_url=replica.url,
                api_key=self._api_key,
                limits=self._once,
                key_setting=None if self._feed else "RUGPT_OPENAI_API_KEY",
                tools=self._tools,
            )
            self._clients[replica.id] = client
        return client


def prefix_of(request: ModelRequest) -> bytes:
    """Return a mark of what a prompt begins with: a role's own words, whoever asks and where."""
    first = request.messages[0].content[:_PREFIX_CHARACTERS] if request.messages else ""
    return blake2b(first.encode("utf-8", "replace"), digest_size=16).digest()
