"""Finds a model and lets a worker work with it; hosted by the engine's own process or by a Ray actor."""

import asyncio
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine import graphs
from engine.adapters.checkpoints import Checkpoints
from engine.core.database import Database
from engine.core.logging import log
from engine.core.settings import Settings
from engine.domains import runs
from engine.domains.runs import ChatModel, WorkerSeen
from engine.roles import Catalogue
from engine.worker.worker import Worker

if TYPE_CHECKING:
    from engine.adapters.models import Choice

MODEL_SECONDS = 15.0
MODEL_SOON_SECONDS = 0.5
SEEN_SECONDS = 1.0
THINK_AGAIN_SECONDS = 5.0


class WorkerHost:
    """One worker, its model and what is told of both; `run` works until cancelled."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        roles: Catalogue,
        *,
        application_url: str,
        tiny: bool,
        pool: str | None = None,
        stands_in: bool = False,
    ) -> None:
        self._settings = settings
        self._database = database
        self._roles = roles
        self._checkpoints = Checkpoints(application_url)
        self._tiny = tiny
        self._pool = pool
        self._stands_in = stands_in
        self._is_resting = False
        self._worker: Worker | None = None
        self._choice: Choice | None = None
        self._state: dict[str, Any] = {"ready": False, "detail": "looking for a model"}

    def model(self) -> ChatModel:
        """Return the model that answers; raises ModelUnavailable before one is chosen."""
        if self._choice is None:
            raise runs.ModelUnavailable("The engine is still looking for a model. Try again in a moment.")
        return self._choice.model

    @property
    def runs_in_hand(self) -> int:
        """How many runs are at work here."""
        return self._worker.runs_in_hand if self._worker else 0

    @property
    def worker_name(self) -> str:
        """The name by which runs are held here; empty before there is a worker."""
        return self._worker.name if self._worker else ""

    async def drain(self, seconds: float) -> int:
        """Take no more runs and wait until those in hand have ended; return how many have not in time."""
        return await self._worker.drain(seconds) if self._worker else 0

    def rest(self, is_resting: bool) -> None:
        """Take no more runs while resting; those in hand go on."""
        self._is_resting = is_resting
        if self._worker is not None:
            self._worker.rest(is_resting)

    def model_state(self) -> dict[str, Any]:
        """Return which model answers, why it was chosen, and whether it is ready."""
        return self._state

    async def run(self) -> None:
        """Work until cancelled; when no model can be had, say so and try again."""
        while True:
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001 - whatever it was, runs must not wait in silence
                log.exception("engine_cannot_think")
                self._state = {"ready": False, "detail": f"{type(error).__name__}; see the log"}
                await asyncio.sleep(THINK_AGAIN_SECONDS)

    async def _work(self) -> None:
        from engine.adapters.models import choose_model

        self._choice = await choose_model(self._settings, tiny=self._tiny, feed=self._database.feed)
        log.info("model_chosen", reason=self._choice.reason)
        self._worker = worker = Worker(
            self._settings,
            self._database,
            self._roles,
            self.model,
            checkpoints=self._checkpoints.open,
            pool=self._pool,
        )
        worker.rest(self._is_resting)
        tasks = [
            asyncio.create_task(worker.run_until_stopped()),
            asyncio.create_task(self._watch_model()),
            asyncio.create_task(self._be_seen(worker)),
            asyncio.create_task(_warm_up()),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await worker.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._choice.model.close()

    async def _watch_model(self) -> None:
        assert self._choice is not None
        while True:
            health = await self._choice.model.check()
            self._state = {
                "ready": health.ok,
                "provider": self._choice.model.provider,
                "name": self._choice.model.name,
                "reason": self._choice.reason,
                "detail": health.detail,
            }
            await asyncio.sleep(MODEL_SECONDS if health.ok else MODEL_SOON_SECONDS)

    async def _be_seen(self, worker: Worker) -> None:
        """Let processes without a worker know that this one lives, and what its model is."""
        while True:
            self._database.feed.send(WorkerSeen(worker.name, self._state, self._stands_in))
            await asyncio.sleep(SEEN_SECONDS)


class WorkersElsewhere:
    """What a process without a worker knows of those in other processes: they are seen every second."""

    SILENT_SECONDS = 5.0

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[str, tuple[float, WorkerSeen]] = {}
        database.feed.on(WorkerSeen, self._take)

    def model_state(self) -> dict[str, Any]:
        """Return the state of a model that is ready, or else of any; `workers` counts those to stay."""
        heard = self._heard()
        workers = sum(not seen.stands_in for seen in heard)
        states = sorted((seen.model for seen in heard), key=lambda state: not state.get("ready"))
        if states:
            return {**states[0], "workers": workers}
        return {"ready": False, "detail": "waiting for workers", "workers": 0}

    def are_ready(self) -> bool:
        """Whether a worker that is to stay, not one that stands in, can work."""
        return any(seen.model.get("ready") and not seen.stands_in for seen in self._heard())

    def _heard(self) -> list[WorkerSeen]:
        since = self._now() - self.SILENT_SECONDS
        self._seen = {name: entry for name, entry in self._seen.items() if entry[0] >= since}
        return [seen for _, seen in self._seen.values()]

    def _take(self, seen: WorkerSeen) -> None:
        self._seen[seen.worker] = (self._now(), seen)


async def _warm_up() -> None:
    """Import LangGraph, which takes a second, before the first person waits for an answer."""
    await asyncio.to_thread(graphs.build_all)
    # What is loaded now stays. Looking through it again and again for garbage took a tenth of our time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(25_000, 20, 50)
