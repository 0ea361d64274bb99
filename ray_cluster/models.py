"""Replicas of the embedded model as actors: Ray places them and starts them anew, workers ask them directly.

No word of an answer is a Ray call. A replica tells every second where it answers, by the relay.
"""

import asyncio
import contextlib
import os
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

from engine.adapters.models import EmbeddedModel, Place, embedded_model, embedded_name
from engine.core.feed import Feed
from engine.core.logging import log, set_up_logging
from engine.core.relay import Relay
from engine.core.settings import Settings
from engine.domains import runs
from engine.domains.runs import ReplicaSeen
from ray_cluster.sealed import unseal

TELL_SECONDS = 1.0
TELL_SOON_SECONDS = 0.2
TRY_AGAIN_SECONDS = 5.0
DEAD_AFTER = 10  # seconds without a sign of life of a server that had answered
STOP_SECONDS = 5.0
CALL_SECONDS = 10.0


class ModelActor:
    """One replica in one process, on so many cores; `ray.remote` is applied where it is started.

    It is got ready from the moment it is made, so that one that Ray has restarted needs nobody to call it.
    """

    def __init__(self, sealed: bytes, token_path: str, *, name: str, number: int, cores: int) -> None:
        self._settings = unseal(sealed, Path(token_path).read_bytes().strip())
        set_up_logging(self._settings.log_level)
        self._name = (
            f"{name}:{uuid4().hex[:8]}"  # What was started anew is another one, which knows no prompts.
        )
        self._place = place_of(self._settings, number=number, cores=cores)
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def is_working(self) -> bool:
        """Whether the replica's thread lives."""
        return self._thread.is_alive()

    def stop(self) -> bool:
        """Give the model's memory back and end; False when that took too long."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # It has ended by itself.
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            asyncio.run(self._host())
        except Exception:  # noqa: BLE001 - whatever it was, an actor that idles would be worse
            log.exception("model_actor_failed")
            os._exit(1)  # Ray starts the actor anew.

    async def _host(self) -> None:
        self._loop = asyncio.get_running_loop()
        settings = self._settings
        assert settings.database_url is not None, "an engine tells its actors where the database is"
        feed = Feed()
        relay = Relay(settings.database_url.get_secret_value(), feed)
        runs.let_travel(relay)
        telling = asyncio.create_task(relay.run())
        model = embedded_model(settings, embedded_name(settings) or "", place=self._place)
        try:
            await self._tell(model, feed)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await model.close()

    async def _tell(self, model: EmbeddedModel, feed: Feed) -> None:
        """Tell how the replica is until it shall stop; raise RuntimeError when its server has died."""
        loop = asyncio.get_running_loop()
        try_at = alive_at = loop.time()
        while not self._stop.is_set():
            now = loop.time()
            busy = await model.pulse()
            if busy is not None or model.url is None:
                alive_at = now
            elif now - alive_at > DEAD_AFTER:
                raise RuntimeError("the model's server gives no sign of life")
            if model.url is None and now >= try_at:
                model.start()  # What is at it already is not disturbed.
                try_at = now + TRY_AGAIN_SECONDS
            detail = (await model.check()).detail
            url = model.url if busy is not None else None
            feed.send(
                ReplicaSeen(self._name, model.name, url, self._settings.model_parallel, busy or 0, detail)
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_SECONDS if url else TELL_SOON_SECONDS):
                    await self._stop.wait()


class ModelsOfHost:
    """The replicas that one engine has hosted, if any; they belong to its host and end with it."""

    def __init__(self, settings: Settings, sealed: bytes, token: Path, *, owner: str) -> None:
        import ray

        self._ray: Any = ray
        count = settings.model_replicas if embedded_name(settings) is not None else 0
        self._actors: list[Any] = []
        self._stopping: list[Any] = []
        if count:
            total = float(self._ray.cluster_resources().get("CPU", 1))
            cores = settings.model_replica_cpus or max(1, int(total // count))
            # Where there are fewer cores than replicas they share them.
            actor = self._ray.remote(
                num_cpus=min(cores, total / count), max_restarts=-1, max_task_retries=0, max_concurrency=4
            )(ModelActor)
            log.info("model_replicas", count=count, cores_each=cores)
            for number in range(count):
                name = f"model-{owner}-{number}"
                self._actors.append(
                    actor.options(name=name, get_if_exists=True).remote(
                        sealed, str(token), name=name, number=number, cores=cores
                    )
                )

    def begin_to_stop(self) -> None:
        """Ask every replica to give its memory back, and do not wait for it."""
        self._stopping = [actor.stop.remote() for actor in self._actors]

    def stop(self) -> None:
        """Wait until every replica has stopped, or has had its time."""
        if self._stopping:
            count = len(self._stopping)
            done, late = self._ray.wait(self._stopping, num_returns=count, timeout=STOP_SECONDS)
            log.info("model_replicas_stopped", stopped=len(done), late=len(late))


def place_of(settings: Settings, *, number: int, cores: int) -> Place:
    """Return where a replica listens and what it is given; only in a joined cluster others may reach it."""
    assert settings.model_replica_key is not None, "settings that were unsealed have it"
    where = settings.model_replica_host or ("loopback" if settings.ray_address is None else "node")
    host = "127.0.0.1"
    if where == "node":
        from ray import util

        host = str(util.get_node_ip_address())  # type: ignore[no-untyped-call]  # Ray gives it no types.
    port = settings.model_replica_port + number if settings.model_replica_port else 0
    return Place(cores, host, port, settings.model_replica_key.get_secret_value())
