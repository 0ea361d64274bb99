"""Replicas of the embedded model as actors: Ray places them and starts them anew, workers ask them directly.

No word of an answer is a Ray call. A replica tells every second where it answers, by the relay.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from time import monotonic
from typing import Any
from uuid import uuid4

from engine.adapters.models import EmbeddedModel, Place, embedded_model, embedded_name
from engine.core.feed import Feed
from engine.core.logging import log, set_up_logging
from engine.core.relay import Relay
from engine.core.settings import Settings
from engine.domains import runs
from engine.domains.runs import ReplicaSeen
from ray_cluster.cluster import token_here
from ray_cluster.loop_thread import LoopThread
from ray_cluster.sealed import unseal

PREFIX = "model"
TELL_SECONDS = 1.0
TELL_SOON_SECONDS = 0.2
TRY_AGAIN_SECONDS = 5.0
DEAD_SECONDS = 10.0  # without a sign of life of a server that had answered
NO_ENGINE_SECONDS = 60.0
UNHEARD_SECONDS = 3.0  # until every worker has heard that a replica leaves
LOOK_SECONDS = 3.0
FIRST_PORT, LAST_PORT = 8000, 8063  # what deploy/firewall/rugpt.nft opens between machines


class ModelActor:
    """One replica in one process, on so many cores; `ray.remote` is applied where it is started.

    It is got ready from the moment it is made, so that one that Ray has restarted needs nobody to call it.
    Where no engine is left it ends.
    """

    def __init__(self, sealed: bytes, token_path: str, *, name: str, number: int, cores: int) -> None:
        self._settings = unseal(sealed, token_here(token_path))
        set_up_logging(self._settings.log_level)
        self._actor_name = name
        self._id = (
            f"{name}:{uuid4().hex[:8]}"  # What was started anew is another one, which knows no prompts.
        )
        self._place = place_of(self._settings, number=number, cores=cores)
        self._heard_at = monotonic()
        self._leaves_at: float | None = None
        self._busy = 0
        self._thread = LoopThread("model", self._work)

    def keep(self) -> None:
        """Hear that an engine lives."""
        self._heard_at = monotonic()

    def node(self) -> str:
        """Return the machine on which it is."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def leave(self) -> bool:
        """Take no more calls; True once none is under way, and the replica may be ended."""
        self._leaves_at = self._leaves_at or monotonic()
        has_been_heard = monotonic() - self._leaves_at > UNHEARD_SECONDS
        return not self._thread.is_alive or (has_been_heard and not self._busy)

    async def _work(self, stop: asyncio.Event) -> None:
        settings = self._settings
        assert settings.database_url is not None, "an engine tells its actors where the database is"
        feed = Feed()
        relay = Relay(settings.database_url.get_secret_value(), feed)
        runs.let_travel(relay)
        telling = asyncio.create_task(relay.run())
        model = embedded_model(settings, embedded_name(settings) or "", place=self._place)
        try:
            await self._tell(model, feed, stop)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await model.close()

    async def _tell(self, model: EmbeddedModel, feed: Feed, stop: asyncio.Event) -> None:
        """Tell how the replica is until it shall stop; raise RuntimeError when its server has died."""
        try_at = alive_at = monotonic()
        while not stop.is_set():
            now = monotonic()
            busy = await model.pulse()
            if busy is not None or model.url is None:
                alive_at = now
            elif now - alive_at > DEAD_SECONDS:
                raise RuntimeError("the model's server gives no sign of life")
            if model.url is None and now >= try_at:
                model.start()  # What is at it already is not disturbed.
                try_at = now + TRY_AGAIN_SECONDS
            self._busy = busy or 0
            is_leaving = self._leaves_at is not None
            url = None if busy is None or is_leaving else model.url
            detail = "leaving" if is_leaving else (await model.check()).detail
            slots = self._settings.model_parallel
            feed.send(ReplicaSeen(self._id, model.name, url, slots, self._busy, detail))
            if now - self._heard_at > NO_ENGINE_SECONDS:
                log.info("no_engine_left")
                await asyncio.to_thread(_end, self._actor_name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_SECONDS if url else TELL_SOON_SECONDS):
                    await stop.wait()


class ModelsOfHost:
    """The replicas of a cluster as one engine's host sees them: those of its release, and older ones."""

    def __init__(self, settings: Settings, sealed: bytes, token_path: str, release: str) -> None:
        import ray

        self._ray: Any = ray
        count = settings.model_replicas if embedded_name(settings) is not None else 0
        ours = [f"{PREFIX}:{release}:{number}" for number in range(count)]
        self._leaving = {
            name: monotonic() + settings.drain_seconds
            for name in self._ray.util.list_named_actors()
            if name.startswith(f"{PREFIX}:") and name not in ours
        }
        self._actors: list[Any] = []
        if count:
            total = float(self._ray.cluster_resources().get("CPU", 1))
            cores = settings.model_replica_cpus or max(1, int(total // count))
            log.info("model_replicas", count=count, cores_each=cores, older=len(self._leaving))
            # Where there are fewer cores than replicas they share them, unless machines may join with theirs.
            is_of_several = bool(settings.ray_port or settings.ray_address)
            may_wait = is_of_several and settings.model_replica_cpus is not None
            held = cores if may_wait else min(cores, total / count)
            for number, name in enumerate(ours):
                self._actors.append(
                    self._ray.remote(ModelActor)
                    .options(
                        name=name,
                        lifetime="detached",
                        get_if_exists=True,
                        num_cpus=held,
                        max_restarts=-1,
                        max_task_retries=0,
                        max_concurrency=4,
                        scheduling_strategy="SPREAD",
                    )
                    .remote(sealed, token_path, name=name, number=number, cores=cores)
                )

    def keep(self) -> None:
        """Let the replicas know that an engine lives, and end older ones that have no call under way."""
        for actor in self._actors:
            actor.keep.remote()
        for name, until in list(self._leaving.items()):
            if monotonic() > until or self._has_left(name):
                log.info("model_replica_ended", name=name)
                _end(name)
                del self._leaving[name]

    def _has_left(self, name: str) -> bool:
        try:
            return bool(self._ray.get(self._ray.get_actor(name).leave.remote(), timeout=LOOK_SECONDS))
        except self._ray.exceptions.GetTimeoutError:
            return False
        except (ValueError, self._ray.exceptions.RayActorError):
            return True  # It is gone, or it has never been more than a wish.


def _end(name: str) -> None:
    import ray

    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(name), no_restart=True)


def place_of(settings: Settings, *, number: int, cores: int) -> Place:
    """Return where a replica listens and what it is given; others may reach it where there may be others."""
    assert settings.model_replica_key is not None, "settings that were unsealed have it"
    where = settings.model_replica_host or (
        "node" if settings.ray_address or settings.ray_port else "loopback"
    )
    host = "127.0.0.1"
    if where == "node":
        from ray import util

        host = str(util.get_node_ip_address())  # type: ignore[no-untyped-call]  # Ray gives it no types.
    port = 0
    if settings.model_replica_port:
        port = settings.model_replica_port + number
    elif where == "node":
        port = free_port(host, range(FIRST_PORT + number, LAST_PORT + 1, max(1, settings.model_replicas)))
    return Place(cores, host, port, settings.model_replica_key.get_secret_value())


def free_port(host: str, ports: Iterable[int]) -> int:
    """Return the first of these ports at which nobody listens; 0, which is any, where all are taken."""
    for port in ports:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, port))
            except OSError:
                continue
            return port
    return 0
