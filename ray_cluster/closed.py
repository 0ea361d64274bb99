"""Whether a cluster asks for its token: `python -m ray_cluster.closed ADDRESS` tries it without one.

A process of its own tries, because Ray decides once in a process whether it shows a token.
"""

import os
import subprocess
import sys

from engine.core.errors import Invalid
from ray_cluster.reach import ClusterOutOfReach, require_cluster

TRY_SECONDS = 15.0
OPEN = 3  # the status of a try that was let in


class RayClusterOpen(Invalid):
    """A cluster was started without a token: whoever reaches it can run code there."""

    code = "ray_cluster_open"


def require_closed(address: str) -> None:
    """Raise RayClusterOpen when a cluster asks for no token; one that does not answer may come yet."""
    try:
        require_cluster(address)
    except ClusterOutOfReach:
        return
    variables = {name: each for name, each in os.environ.items() if not name.startswith(("RAY_", "RUGPT_"))}
    try:
        tried = subprocess.run(
            [sys.executable, "-m", "ray_cluster.closed", address],
            env={**variables, "RAY_AUTH_MODE": "disabled"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TRY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return
    if tried.returncode == OPEN:
        raise RayClusterOpen(
            f"The Ray cluster at {address} asks for no token: whoever reaches it can run code there."
            " Start its head and its machines with RAY_AUTH_MODE=token."
        )


def main() -> int:
    """Try to enter; return OPEN when nobody asked who we are."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # Ray's stub leaves it out.
    from ray.exceptions import RayError

    try:
        return OPEN if GcsClient(address=sys.argv[1]).cluster_id else 1
    except (RayError, ValueError):  # It asks.
        return 0


if __name__ == "__main__":
    sys.exit(main())
