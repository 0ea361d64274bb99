"""Does the main job in a network namespace with nothing but a loopback, and tells what left it.

    python -m tests.process.offline DATA

Every address is routed to the loopback, so that whatever is sent anywhere passes the ear that listens
there: a look-up of a name as well as a connection. Linux only.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

from tests.process.engine import Follower, register, running
from tests.process.model import Script, answering

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCADDRT = 0x8913, 0x8914, 0x890B
IFF_UP, RTF_UP = 0x1, 0x1
ETH_P_ALL = 0x0003
DNS_PORT = 53
STRANGER = ("192.0.2.1", 9)  # An address of nobody, by which the ear is tried.


class NoNamespace(Exception):
    """The system lets us make no network namespace."""


class Route(ctypes.Structure):
    """The kernel's `struct rtentry`."""

    _fields_ = (
        ("pad1", ctypes.c_ulong),
        ("destination", ctypes.c_ubyte * 16),
        ("gateway", ctypes.c_ubyte * 16),
        ("mask", ctypes.c_ubyte * 16),
        ("flags", ctypes.c_ushort),
        ("pad2", ctypes.c_short),
        ("pad3", ctypes.c_ulong),
        ("pad4", ctypes.c_void_p),
        ("metric", ctypes.c_short),
        ("device", ctypes.c_char_p),
        ("mtu", ctypes.c_ulong),
        ("window", ctypes.c_ulong),
        ("round_trip", ctypes.c_ushort),
    )


def cut_the_network() -> None:
    """Move this process into a network of its own, with a loopback that every packet goes to."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        raise NoNamespace(os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sh", b"lo", 0)
        (now,) = struct.unpack("16xh", fcntl.ioctl(control, SIOCGIFFLAGS, asked + bytes(24))[:18])
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", now | IFF_UP) + bytes(24))
        route = Route(flags=RTF_UP, device=b"lo")
        for name in ("destination", "gateway", "mask"):
            getattr(route, name)[:2] = struct.pack("=H", socket.AF_INET)
        if libc.ioctl(control.fileno(), SIOCADDRT, ctypes.byref(route)) != 0:
            raise NoNamespace(f"no route: {os.strerror(ctypes.get_errno())}")


class Ear:
    """Notes every packet that was meant for somewhere else than this machine, or asks for a name."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.bind(("lo", 0))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            packet = self._socket.recv(65_535)
            if packet[0] >> 4 == 4:
                protocol, to, rest = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
            else:
                protocol, to, rest = packet[6], packet[24:40], packet[40:]
            port = struct.unpack("!H", rest[2:4])[0] if protocol in (6, 17) and len(rest) >= 4 else 0
            address = ip_address(to)
            if not address.is_loopback or port == DNS_PORT:
                self.heard.add(f"{address} port {port} protocol {protocol}")


async def try_the_ear(ear: Ear) -> None:
    """Fail unless a packet to a stranger is heard, so that silence means something."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.sendto(b"?", STRANGER)
    async with asyncio.timeout(5):
        while not ear.heard:  # noqa: ASYNC110 - another thread adds to it
            await asyncio.sleep(0.01)
    assert ear.heard == {f"{STRANGER[0]} port {STRANGER[1]} protocol 17"}
    ear.heard.clear()


async def do_the_main_job(data: Path) -> str:
    """Ask, follow, sign and stop, all without a network; return the answer."""
    # The proxies of the machine would be a way out that nobody hears: the engine is not told of them.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    async with answering(Script()) as model, running(data, model.settings) as engine:
        ann = await register(engine.port)
        chat_id = await ann.open_chat()
        follower = Follower(ann, chat_id)
        await follower.begin()
        await ann.post(chat_id, "@@lawyer Что со сроком поставки?")
        await follower.until(lambda seen: seen.has_ended())
        (answer,) = follower.picture.answers
        await ann.call("POST", f"/messages/{answer['id']}/validation", {"verdict": "approve"})
        await follower.until(lambda seen: "message.validated" in seen.kinds)
        await follower.check_against_fresh_load()
        follower.cut()
        await engine.terminate()
        assert engine.faults == []
    return str(answer["content"])


async def main() -> None:
    """Print what happened as JSON."""
    try:
        cut_the_network()
    except NoNamespace as refusal:
        print(json.dumps({"refused": str(refusal)}))
        return
    ear = Ear()
    await try_the_ear(ear)
    answer = await do_the_main_job(Path(sys.argv[1]))
    print(json.dumps({"answer": answer, "heard": sorted(ear.heard)}))


if __name__ == "__main__":
    asyncio.run(main())
