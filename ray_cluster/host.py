"""Keeps a cluster and its workers: `python -m ray_cluster.host TOKEN_FILE SINCE`, sealed settings in.

It is a process of its own, so that the API's process knows nothing of Ray and starts before it.
"""

import asyncio
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.core.errors import Refusal
from engine.core.logging import log, set_up_logging
from engine.core.settings import Settings
from ray_cluster.closed import require_closed
from ray_cluster.cluster import Head, RayNotStarted, environment, namespace_of, start_head
from ray_cluster.reach import require_cluster, require_node
from ray_cluster.release import Release, release_of
from ray_cluster.sealed import unseal

WATCH_SECONDS = 1.0
JOIN_SECONDS = 60
GRACE_SECONDS = 45.0  # from the engine's end to ours: workers hand their runs back meanwhile


class Workers:
    """The actors that have this engine's work done, and whoever keeps them."""

    def __init__(self, settings: Settings, sealed: bytes, token: Path, release: Release) -> None:
        from engine.roles import DEFAULT_POOL, Pool, Resources
        from ray_cluster.fleet import RayFleet
        from ray_cluster.supervisor_actor import Keeper

        self._keeper = Keeper(sealed, token, release)
        self._fleet = RayFleet(sealed, str(token), release.name)
        there = [name for name in asyncio.run(self._fleet.names()) if name.release == release.name]
        machines: list[str | None] = [*asyncio.run(self._fleet.machines())] or [None]
        for number in range(0 if there else settings.workers):  # Beside the supervisor, not after it.
            self._fleet.start_now(Pool(DEFAULT_POOL, (), Resources()), machines[number % len(machines)])
        self._pools: dict[str, Any] = {}

    def keep(self) -> None:
        """See to it that somebody keeps them, and tell in the log what has changed."""
        pools = self._keeper.keep()
        if pools is not None and pools != self._pools:
            log.info("pools", **pools)
            self._pools = pools

    def stop(self) -> None:
        """Let every worker hand its runs back."""
        self._keeper.end()
        log.info("workers_stopped", stopped=asyncio.run(self._fleet.stop_all()))


def main() -> None:
    """Start or join a cluster, keep its workers working until SIGTERM, and end what was started."""
    leaving = threading.Event()
    sealed = sys.stdin.buffer.read()
    token = Path(sys.argv[1])
    settings = unseal(sealed, token.read_bytes().strip())
    release = release_of(settings, token.read_bytes().strip(), since=float(sys.argv[2]))
    set_up_logging(settings.log_level)
    # What comes after belongs to actors, and they have no use for our variables.
    is_alone = settings.ray_address is None and not settings.ray_port
    variables = environment(token, is_alone=is_alone)
    os.environ.update(variables)
    parent = os.getppid()
    head: Head | None = None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # Nobody has work here yet.
    try:
        began = time.monotonic()
        if settings.ray_address is None:
            head = start_head(
                settings.data_dir,
                variables,
                port=settings.ray_port,
                has_dashboard=settings.ray_dashboard,
                meanwhile=import_the_rest,
            )
        else:
            require_cluster(settings.ray_address)
            require_closed(settings.ray_address)  # Its head may be another one than when the engine started.
            require_node(settings.ray_address)
        if os.getppid() != parent:
            sys.exit(0)
        threading.Thread(target=end_after, args=(parent,), daemon=True).start()
        if head is not None:
            threading.Thread(target=end_with, args=(head,), daemon=True).start()
        address = settings.ray_address or (head.address if head else "")
        import ray

        from ray_cluster.models import ModelsOfHost

        try:
            with ended_after(JOIN_SECONDS):
                ray.init(
                    address=address,
                    namespace=namespace_of(settings),
                    log_to_driver=False,
                    configure_logging=False,
                )
        except (
            RuntimeError,
            ConnectionError,
        ) as error:  # Such as when the part of Ray here is another cluster's.
            raise RayNotStarted(f"The cluster at {address} was not joined: {error}") from error
        for number in (signal.SIGTERM, signal.SIGINT):  # After ray.init, which takes them.
            signal.signal(number, lambda *_: leaving.set())
        workers = Workers(settings, sealed, token, release)
        models = ModelsOfHost(settings, sealed, str(token), release.name)
        log.info("ray_ready", seconds=round(time.monotonic() - began, 2), address=address)
        while not leaving.wait(WATCH_SECONDS):
            if os.getppid() != parent:
                log.warning("engine_gone")  # It was killed; the next one brings its own.
                break
            workers.keep()
            models.keep()
        if head is not None:  # In somebody else's cluster they go on: other engines may need them.
            workers.stop()
    except Refusal as refusal:
        log.error("ray_not_ready", code=refusal.code, reason=refusal.message)
        sys.exit(1)
    finally:
        if head is not None:
            head.stop()


@contextmanager
def ended_after(seconds: int) -> Iterator[None]:
    """Have the system end this process if what is done inside takes longer.

    Ray joins a cluster without letting other threads of Python run; one that dies just then is waited for
    for ever, and nothing else here would notice.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def end_after(parent: int, *, grace_seconds: float = GRACE_SECONDS) -> None:
    """End this process a while after its engine, whatever it waits for: a call of Ray may never return.

    The head, and with it its workers, ends with this process.
    """
    while os.getppid() == parent:
        time.sleep(min(WATCH_SECONDS, grace_seconds))
    time.sleep(grace_seconds)
    try:
        log.error("ray_host_stuck")
    finally:  # Nobody may be left to hear it.
        os._exit(1)


def end_with(head: Head) -> None:
    """End this process when its head has ended; a call of Ray would wait a minute for another one."""
    status = head.process.wait()
    if not head.is_stopping:
        try:
            log.error("ray_head_ended", status=status)
            head.stop()  # It leaves others behind.
        finally:
            os._exit(1)


def import_the_rest() -> None:
    """Import what takes seconds, while the head takes some as well."""
    for name in ("ray", "ray_cluster.supervisor_actor", "ray_cluster.models"):
        importlib.import_module(name)


if __name__ == "__main__":
    main()
