"""Asks a cluster what it has, as a driver of its own: `python -m tests.cluster.ask_ray ADDRESS`, as JSON."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.processes import ROOT
from ray_cluster.cluster import environment


@dataclass(frozen=True, slots=True)
class Cluster:
    """What there is: the names of actors, and what nobody holds."""

    actors: tuple[str, ...]
    free: dict[str, float]

    def workers_of(self, pool: str) -> int:
        """Return how many workers a pool has."""
        return sum(name.startswith("worker:") and name.split(":")[2] == pool for name in self.actors)


async def ask_ray(address: str, token: Path) -> Cluster:
    """Ask a cluster of this machine alone, from a process of its own."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cluster.ask_ray", address),
        cwd=ROOT,
        env={**os.environ, **environment(token, is_alone=True)},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0
    told = json.loads(said.splitlines()[-1])
    return Cluster(tuple(told["actors"]), told["free"])


def main() -> None:
    """Print what there is."""
    ray: Any = import_module("ray")
    ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
    actors = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
    print(json.dumps({"actors": actors, "free": ray.available_resources()}))


if __name__ == "__main__":
    main()
