"""A node of a Ray cluster on a machine, started by hand with the ports that the firewall's rules know."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray_cluster.cluster import MACHINE_PORTS, end_group, environment
from tests.namespaces import Machine

GCS_PORT = 6379


@contextmanager
def ray_node(machine: Machine, token: Path, *arguments: str) -> Iterator[None]:
    """Run one node of a cluster, started by hand with the ports that the rules know."""
    process = subprocess.Popen(
        machine.command(
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
            f"--object-store-memory={80 * 2**20}", *MACHINE_PORTS, *arguments,
        ),
        env={**os.environ, **environment(token)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        end_group(process)
