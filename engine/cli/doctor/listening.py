"""Who listens where on this machine, as Linux tells everybody."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

_LISTENS = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP port that is listened on, and the number of the socket."""

    address: IPv4Address | IPv6Address
    port: int
    inode: int

    @property
    def is_open_to_others(self) -> bool:
        """Whether another machine may connect, unless a firewall keeps it away."""
        return not self.address.is_loopback


def listeners(net: Path = Path("/proc/net")) -> list[Listener]:
    """Return every TCP port that is listened on; empty where the system has no such table."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = (net / table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue  # A system without IPv6, or not Linux.
        for line in lines:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            if state == _LISTENS:
                address, _, port = local.partition(":")
                found.append(Listener(_address(address), int(port, 16), int(inode)))
    return found


def _address(words: str) -> IPv4Address | IPv6Address:
    """Read an address: words of four bytes, each in the machine's own order."""
    packed = b"".join(
        int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8)
    )
    if len(packed) == 4:
        return IPv4Address(packed)
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


@dataclass(frozen=True, slots=True)
class Process:
    """A running process: its command line, and the sockets that it has."""

    command: str
    sockets: frozenset[int]


def processes(proc: Path = Path("/proc")) -> Iterator[Process]:
    """Yield the processes whose sockets we may see: our own, and for root everybody's."""
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            sockets = frozenset(_sockets(folder / "fd"))
        except OSError:
            continue  # It has ended, or belongs to somebody else.
        yield Process(command, sockets)


def _sockets(descriptors: Path) -> Iterator[int]:
    for each in descriptors.iterdir():
        try:
            target = str(each.readlink())
        except FileNotFoundError:
            continue  # Closed while we looked.
        if found := _SOCKET.fullmatch(target):
            yield int(found[1])
