"""A language model of our own, so that a first run needs neither an account nor a server.

llama.cpp answers in a process beside this one, on a loopback address with a key that only we know, and the
OpenAI client reads it like any other server.
"""

import asyncio
import importlib.util
import secrets
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from engine.adapters.models.llama_server import LlamaFailed, LlamaServer
from engine.adapters.models.openai import OpenAIModel
from engine.adapters.models.weights import FetchStopped, fetch, shown_progress, weights_of
from engine.adapters.models.wire import Limits, ModelServer
from engine.core.logging import log
from engine.domains.runs import ModelEnd, ModelHealth, ModelRequest, ModelUnavailable

DEFAULT = "qwen2.5-coder-1.5b"
TINY = "smollm2-135m"
_PULSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """What a copy of the model is given of its machine, and how others reach it: all cores, and nobody."""

    cores: int | None = None
    host: str = "127.0.0.1"
    port: int = 0
    key: str | None = None


class EmbeddedModel:
    """A model that is fetched, loaded and run here. It is got ready once, by `start` or the first call."""

    provider = "embedded"

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        context_tokens: int,
        parallel: int,
        limits: Limits | None = None,
        show_progress: bool = False,
        place: Place | None = None,
    ) -> None:
        self.name = name
        self._weights = weights_of(name)
        self._folder = folder
        self._context_tokens = min(context_tokens, self._weights.trained_context)
        self._parallel = parallel
        self._limits = limits or Limits()
        self._show_progress = show_progress
        self._state = "not started"
        self._failure: str | None = None
        self._getting_ready: asyncio.Task[OpenAIModel] | None = None
        self._stop = threading.Event()
        self._server: LlamaServer | None = None
        self._place = place or Place()
        self._heard: ModelServer | None = None
        self._busy = 0

    @property
    def is_started(self) -> bool:
        """Whether it was ever asked to get ready."""
        return self._getting_ready is not None

    @property
    def url(self) -> str | None:
        """Where it answers, once it does."""
        return f"{self._heard.url}/v1" if self._heard is not None else None

    def start(self) -> None:
        """Begin to get ready, in the background; a failed attempt is made again."""
        task = self._getting_ready
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            self._getting_ready = asyncio.create_task(self._get_ready(), name=f"load {self.name}")
            self._getting_ready.add_done_callback(_look_at)

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        """Yield the answer as it is written; see ChatModel. Waits while the model is got ready."""
        return self._stream(request)

    async def check(self) -> ModelHealth:
        """Say how far the model is, without starting it; one that has died is started anew."""
        await self._bury()
        facts = {
            "provider": self.provider,
            "model": self.name,
            "context_tokens": self._context_tokens,
            "parallel": self._parallel,
            "fetched": (self._folder / self._weights.file).is_file(),
        }
        if self._failure is not None:
            return ModelHealth(False, self._failure, facts)
        return ModelHealth(self._state == "ready", self._state, facts)

    async def pulse(self) -> int | None:
        """Return how many answers it is writing; None when its server is dead."""
        if self._heard is None:
            return None
        try:
            status, slots = await self._heard.get("/slots", seconds=_PULSE_SECONDS)
            if status == HTTPStatus.OK and isinstance(slots, list):
                self._busy = sum(bool(slot.get("is_processing")) for slot in slots)
        except ModelUnavailable:
            # While it reads a long prompt it counts for nobody, and is at work on that one at least. Whether
            # it lives it says all the same.
            try:
                await self._heard.get("/health", seconds=_PULSE_SECONDS)
            except ModelUnavailable:
                return None
            return max(self._busy, 1)
        return self._busy

    async def close(self) -> None:
        """Stop fetching, or give the model's memory back."""
        self._stop.set()
        task, self._getting_ready = self._getting_ready, None
        if task is not None:
            # Not cancelled: a thread cannot be, and it minds the event.
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(result, OpenAIModel):
                await result.close()
        if self._heard is not None:
            await self._heard.close()
            self._heard = None
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.stop)
        self._state = "closed"

    async def _stream(self, request: ModelRequest) -> AsyncGenerator[str | ModelEnd, None]:
        model = await self._ready_model()
        async with AsyncExitStack() as closing:
            parts = await closing.enter_async_context(aclosing(model.stream(request)))  # type: ignore[type-var]
            async for part in parts:
                yield part

    async def _ready_model(self) -> OpenAIModel:
        if self._stop.is_set():
            raise ModelUnavailable(f"The embedded model {self.name} is closed.")
        await self._bury()
        self.start()
        assert self._getting_ready is not None
        try:
            async with asyncio.timeout(self._limits.first_token_seconds):
                return await asyncio.shield(self._getting_ready)
        except TimeoutError:
            raise ModelUnavailable(
                f"The embedded model {self.name} is not ready yet: {self._state}."
            ) from None
        except FetchStopped:
            raise ModelUnavailable(f"The embedded model {self.name} is closed.") from None

    async def _get_ready(self) -> OpenAIModel:
        self._failure = None
        try:
            if importlib.util.find_spec("xllamacpp") is None:
                raise ModelUnavailable(
                    "The embedded model needs xllamacpp, which has no build for this machine. "
                    "Use Ollama or an OpenAI-compatible server (RUGPT_MODEL)."
                )
            self._state = "looking for the weights"
            path = await asyncio.to_thread(self._fetch)
            self._state = "loading"
            key = self._place.key or secrets.token_urlsafe(24)
            self._server = await asyncio.to_thread(self._load, path, key)
            self._heard = ModelServer(
                self._server.address, self._limits, {"Authorization": f"Bearer {key}"}, key
            )
            model = OpenAIModel(
                name=self.name,
                base_url=f"{self._heard.url}/v1",
                api_key=key,
                limits=self._limits,
                key_setting=None,
                tools=self._weights.tools,
            )
            self._state = "ready"
            return model
        except ModelUnavailable as error:
            self._failure = error.message
            raise
        except OSError as error:  # The disk is full or not ours to write on.
            self._failure = f"The weights of {self.name} cannot be kept in {self._folder}: {error.strerror}."
            raise ModelUnavailable(self._failure) from error

    def _fetch(self) -> Path:
        if (self._folder / self._weights.file).is_file() or not self._show_progress:
            return fetch(self._weights, self._folder, progress=self._note_progress, stop=self._stop)
        with shown_progress(self.name) as show:

            def both(done: int, total: int) -> None:
                self._note_progress(done, total)
                show(done, total)

            return fetch(self._weights, self._folder, progress=both, stop=self._stop)

    def _note_progress(self, done: int, total: int) -> None:
        self._state = f"fetching {done * 100 // total} %"

    def _load(self, path: Path, key: str) -> LlamaServer:
        wanted = {
            "path": str(path),
            "name": self.name,
            "context_tokens": self._context_tokens,
            "parallel": self._parallel,
            "cores": self._place.cores,
            "host": self._place.host,
            "port": self._place.port,
            "key": key,
            "tells_slots": self._place.key is not None,
        }
        try:
            return LlamaServer(wanted)
        except LlamaFailed as error:
            raise ModelUnavailable(f"llama.cpp could not load {path.name}: {error}") from error

    async def _bury(self) -> None:
        """Forget a server that has died, so that it is started anew; nothing where it lives."""
        if self._server is None or not self._server.has_ended:
            return
        log.error("model_server_died", model=self.name)
        self._server.stop()
        task, heard = self._getting_ready, self._heard
        self._server = self._getting_ready = self._heard = None
        self.start()
        if heard is not None:
            await heard.close()
        if task is not None:
            await (await task).close()


def _look_at(task: asyncio.Task[OpenAIModel]) -> None:
    """Take note of a failure; `check` tells it, and whoever calls next meets it."""
    if not task.cancelled():
        task.exception()
