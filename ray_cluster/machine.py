"""A machine of a cluster: `python -m ray_cluster.machine TOKEN ADDRESS DRAIN_SECONDS CPUS GPUS LOG_LEVEL`.

What its workers do the engine decides that keeps them; this only offers the machine, and takes it back.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.core.errors import Refusal
from engine.core.logging import log, set_up_logging
from ray_cluster.closed import require_closed
from ray_cluster.cluster import address_towards, end_group, environment, join
from ray_cluster.models import PREFIX as MODELS
from ray_cluster.reach import require_cluster, require_database
from ray_cluster.supervisor_actor import NAME as SUPERVISOR

LOOK_SECONDS = 0.5
CALL_SECONDS = 4.0
PLACE_SECONDS = 10.0
BEYOND_DRAIN_SECONDS = 20.0


def main() -> None:
    """Offer this machine until SIGTERM; then let its workers leave, and end its part of Ray."""
    token, address, drain_seconds, cpus, gpus, log_level = sys.argv[1:]
    set_up_logging(log_level)
    leaving = threading.Event()
    variables = environment(Path(token))
    os.environ.update(variables)
    parent = os.getppid()
    node: subprocess.Popen[bytes] | None = None
    try:
        began = time.monotonic()
        require_cluster(address)
        require_closed(address)
        node = join(address, cpus=cpus, gpus=gpus)
        import ray

        ray.init(
            address=address,
            _node_ip_address=address_towards(address),
            log_to_driver=False,
            configure_logging=False,
        )
        for number in (signal.SIGTERM, signal.SIGINT):  # After ray.init, which takes them.
            signal.signal(number, lambda *_: leaving.set())
        require_database(ray, named(ray, SUPERVISOR))
        here = ray.get_runtime_context().get_node_id()
        offers = {key: each for key, each in _resources(ray, here).items() if key in ("CPU", "GPU")}
        log.info("machine_joined", address=address, seconds=round(time.monotonic() - began, 2), **offers)
        while not leaving.wait(LOOK_SECONDS) and os.getppid() == parent:
            if node.poll() is not None:
                log.error("ray_node_ended", status=node.returncode)
                sys.exit(1)
        leave(ray, here, float(drain_seconds) + BEYOND_DRAIN_SECONDS)
    except Refusal as refusal:
        log.error("machine_not_joined", code=refusal.code, reason=refusal.message)
        sys.exit(1)
    finally:
        if node is not None:
            end_group(node)


def leave(ray: Any, machine: str, seconds: float) -> None:
    """Have the supervisors take their workers elsewhere, and the models end their answers; wait for both."""
    deadline = time.monotonic() + seconds
    here: tuple[int, int] | None = None
    # A replica that waits for a machine says nothing, and is nowhere.
    asked = {each: each.node.remote() for each in named(ray, f"{MODELS}:")}
    nodes, _ = _answers(ray, asked, seconds=PLACE_SECONDS)
    ours = [each for each, node in nodes.items() if node == machine]
    while time.monotonic() < deadline:
        supervisors = named(ray, SUPERVISOR)
        workers, _ = _answers(ray, {each: each.leave_machine.remote(machine) for each in supervisors})
        left, late = _answers(ray, {each: each.leave.remote() for each in ours})
        if len(workers) == len(supervisors) and None not in workers.values():
            now = sum(workers.values()), late + sum(not has for has in left.values())
            if now != here:
                here = now
                log.info("workers_here", workers=now[0], models=now[1])
            if here == (0, 0):
                return
        time.sleep(LOOK_SECONDS)
    log.warning("workers_left_behind", workers=here and here[0], models=here and here[1])


def named(ray: Any, beginning: str) -> list[Any]:
    """Return the actors whose names begin so, of every installation that shares the cluster."""
    found = []
    for each in ray.util.list_named_actors(all_namespaces=True):
        if each["name"].startswith(beginning):
            with suppress(ValueError):  # It has ended meanwhile.
                found.append(ray.get_actor(each["name"], namespace=each["namespace"]))
    return found


def _answers(ray: Any, calls: dict[Any, Any], *, seconds: float = CALL_SECONDS) -> tuple[dict[Any, Any], int]:
    """Return what actors have answered, and how many have not in time; those that are gone are in neither."""
    ready, late = ray.wait([*calls.values()], num_returns=len(calls), timeout=seconds) if calls else ([], [])
    answers = {}
    for actor, call in calls.items():
        if call in ready:
            try:
                answers[actor] = ray.get(call)
            except ray.exceptions.RayError as away:
                log.warning("actor_away", error=type(away).__name__)
    return answers, len(late)


def _resources(ray: Any, machine: str) -> dict[str, float]:
    return next((node["Resources"] for node in ray.nodes() if node["NodeID"] == machine), {})


if __name__ == "__main__":
    main()
