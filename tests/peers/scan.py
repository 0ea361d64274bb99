"""Tells which TCP ports of a machine can be connected to: `python -m tests.peers.scan ADDRESS`, as JSON."""

import json
import resource
import socket
import sys
import time

BATCH = 8192
# A port that is open says so at once, and one that is closed too; a firewall says nothing.
WAIT_SECONDS = 0.5


def main() -> None:
    """Try every port there is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = []
    for first in range(1, 65536, BATCH):
        found += connected(sys.argv[1], range(first, min(first + BATCH, 65536)))
    print(json.dumps(found))


def connected(address: str, ports: range) -> list[int]:
    """Return those of some ports that take a connection."""
    probes = {port: socket.socket() for port in ports}
    for port, probe in probes.items():
        probe.setblocking(False)
        probe.connect_ex((address, port))
    time.sleep(WAIT_SECONDS)
    found = []
    for port, probe in probes.items():
        try:
            probe.getpeername()
        except OSError:
            continue
        else:
            found.append(port)
        finally:
            probe.close()
    return found


if __name__ == "__main__":
    main()
