"""Machines that are network namespaces of this one, on a network that only they and this one share.

Linux, root and iproute2 are needed. Nothing outlives the process that made it, however it ends: a namespace
is held by a process that ends with us, and the links end with the namespaces.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass


class NoNetwork(Exception):
    """The system lets us make no network namespace, or no link into one."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace: `address` is its own on the shared network."""

    address: str
    holder: int

    def command(self, *words: str) -> tuple[str, ...]:
        """Return the command that runs another one on this machine."""
        return ("nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *words)

    def run(self, *words: str) -> str:
        """Run a short command on this machine and return what it says; raises NoNetwork when it fails."""
        return _run(self.command(*words))


@dataclass(frozen=True, slots=True)
class Network:
    """Some machines, and the address by which they reach this one, where the tests run."""

    host: str
    machines: Sequence[Machine]


@contextmanager
def network(machines: int) -> Iterator[Network]:
    """Make a network of some machines, gone after the block; raises NoNetwork where that cannot be."""
    subnet = f"10.{random.randrange(200, 250)}.{random.randrange(256)}"
    with ExitStack() as held:
        switch = Machine("", held.enter_context(_namespace()))
        switch.run("ip", "link", "add", "switch", "type", "bridge")
        switch.run("ip", "link", "set", "switch", "up")
        made = [
            Machine(f"{subnet}.{number}", held.enter_context(_namespace()))
            for number in range(1, machines + 1)
        ]
        for one in made:
            _plug_in(switch, f"p{one.holder}", one.command(), str(one.holder), "eth0", one.address)
            one.run("ip", "route", "add", "default", "via", f"{subnet}.254")
        ours = f"t{switch.holder}"
        _plug_in(switch, f"p{os.getpid()}", (), str(os.getpid()), ours, f"{subnet}.254")
        yield Network(f"{subnet}.254", made)


def _plug_in(
    switch: Machine, port: str, there: Sequence[str], process: str, device: str, address: str
) -> None:
    switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", device, "netns", process)
    switch.run("ip", "link", "set", port, "master", "switch", "up")
    for line in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{address}/24", "dev", device),
        ("link", "set", device, "up"),
    ):
        _run((*there, "ip", *line))


@contextmanager
def _namespace() -> Iterator[int]:
    """Keep a namespace; its holder reads our pipe, and so ends when we do."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo made; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != b"made\n":
            raise NoNetwork(holder.stderr.read().decode().strip())
        yield holder.pid
        holder.stdin.close()


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError as absent:
        raise NoNetwork(str(absent)) from absent
    if done.returncode != 0:
        raise NoNetwork(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def main() -> int:
    """Say whether machines can be made here: nothing when they can, else why not."""
    try:
        with network(1):
            return 0
    except NoNetwork as why_not:
        print(f"no network namespaces: {why_not}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
