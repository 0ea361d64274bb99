"""Has an actor on every node of a cluster tell its address: `python -m tests.peers.across HEAD NODES`."""

import json
import sys
import time
from importlib import import_module
from typing import Any

WAIT_SECONDS = 60.0


class Node:
    """An actor that knows where it runs."""

    def address(self) -> str:
        """Return the address of its machine."""
        ray: Any = import_module("ray")
        return str(ray.util.get_node_ip_address())


def main() -> None:
    """Wait for the nodes, ask an actor on each, and print the addresses."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray: Any = import_module("ray")
    deadline = time.monotonic() + WAIT_SECONDS
    ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
    nodes: list[dict[str, Any]] = []
    while len(nodes) < int(sys.argv[2]) and time.monotonic() < deadline:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        time.sleep(0.1)
    actor: Any = ray.remote(num_cpus=0)(Node)
    asked = [
        actor.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    print(json.dumps(ray.get([one.address.remote() for one in asked], timeout=WAIT_SECONDS)))


if __name__ == "__main__":
    main()
