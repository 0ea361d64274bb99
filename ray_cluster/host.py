"""Keeps a cluster and its workers: `python -m ray_cluster.host TOKEN_FILE`, sealed settings on its input.

It is a process of its own, so that the API's process knows nothing of Ray and starts before it.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from engine.core.errors import Refusal
from engine.core.logging import log, set_up_logging
from engine.core.settings import Settings
from ray_cluster.cluster import NAMESPACE, Head, environment, start_head
from ray_cluster.models import ModelsOfHost
from ray_cluster.sealed import unseal
from ray_cluster.worker_actor import STOP_SECONDS, WorkerActor

WATCH_SECONDS = 1.0
CALL_SECONDS = 10.0


class WorkersOfHost:
    """The actors that one engine has work done by; the same names find them again."""

    def __init__(self, settings: Settings, sealed: bytes, token: Path, *, owner: str) -> None:
        import ray

        self._ray: Any = ray
        # It waits for models, not for a processor; a call may wait while another one stops it.
        actor = self._ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=4)(
            WorkerActor
        )
        self._actors = [
            actor.options(name=f"worker-{owner}-{number}", get_if_exists=True).remote(sealed, str(token))
            for number in range(settings.workers)
        ]

    def are_working(self) -> bool:
        """Whether every worker answers and works; one that Ray is restarting does not answer yet."""
        calls = [actor.is_working.remote() for actor in self._actors]
        try:
            return all(self._ray.get(calls, timeout=CALL_SECONDS))
        except (self._ray.exceptions.ActorUnavailableError, self._ray.exceptions.GetTimeoutError):
            return False

    def stop(self) -> None:
        """Let every worker hand its runs back."""
        calls = [actor.stop.remote() for actor in self._actors]
        done, late = self._ray.wait(calls, num_returns=len(calls), timeout=STOP_SECONDS)
        log.info("workers_stopped", stopped=len(done), late=len(late))


def main() -> None:
    """Start or join a cluster, keep its workers working until SIGTERM, and end what was started."""
    leaving = threading.Event()
    sealed = sys.stdin.buffer.read()
    token = Path(sys.argv[1])
    settings = unseal(sealed, token.read_bytes().strip())
    set_up_logging(settings.log_level)
    # What comes after belongs to actors, and they have no use for our variables.
    variables = environment(token)
    os.environ.update(variables)
    parent = os.getppid()
    head: Head | None = None
    try:
        began = time.monotonic()
        if settings.ray_address is None:
            head = start_head(settings.data_dir, variables)
        address = settings.ray_address or (head.address if head else "")
        import ray

        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
        )
        for number in (signal.SIGTERM, signal.SIGINT):  # After ray.init, which takes them.
            signal.signal(number, lambda *_: leaving.set())
        workers = WorkersOfHost(settings, sealed, token, owner=str(os.getpid()))
        models = ModelsOfHost(settings, sealed, token, owner=str(os.getpid()))
        log.info("ray_ready", seconds=round(time.monotonic() - began, 2), address=address)
        was_working = True
        while not leaving.wait(WATCH_SECONDS):
            if os.getppid() != parent:
                log.warning("engine_gone")  # It was killed; the next one brings its own.
                break
            if head is not None and head.process.poll() is not None:
                log.error("ray_head_ended", status=head.process.returncode)
                sys.exit(1)
            if (is_working := workers.are_working()) != was_working:
                log.warning("workers_are_back" if is_working else "workers_not_working")
            was_working = is_working
        models.begin_to_stop()  # Runs are handed back unfinished: nobody needs an answer any more.
        workers.stop()
        models.stop()
    except Refusal as refusal:
        log.error("ray_not_ready", code=refusal.code, reason=refusal.message)
        sys.exit(1)
    finally:
        if head is not None:
            head.stop()


if __name__ == "__main__":
    main()
