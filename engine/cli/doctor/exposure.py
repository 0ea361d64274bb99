"""What other machines could connect to, but for a firewall: Ray, the database and the model."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from engine.adapters.models.loopback import is_loopback
from engine.cli.doctor.findings import Finding, note, ok
from engine.cli.doctor.listening import Listener, Process, listeners, processes
from engine.core.settings import Settings

# How the processes of each look in a list of them.
_OURS = {
    "Ray": re.compile(r"ray::|\S*/(?:gcs_server|raylet)\b|.*\bray_cluster\.|.*\bray/(?:dashboard|_private)/"),
    "the engine": re.compile(r".*\bengine\.cli\b|.*/rugpt serve\b"),
}
_POSTGRES_PORT = 5432
_WEB_PORTS = {"http": 80, "https": 443}


def look_at_exposure(settings: Settings, *, proc: Path = Path("/proc")) -> list[Finding]:
    """Find what listens beyond the loopback. Whether a firewall stands before it only root can see."""
    if not (proc / "net" / "tcp").exists():
        return [note("open ports", "this system does not tell who listens where")]
    listening = listeners(proc / "net")
    exposed = dict(exposures(listening, processes(proc), _known_ports(settings)))
    if not exposed:
        return [ok("open ports", "none of ours, other machines reach nothing of the engine but by a proxy")]
    return [
        note(
            "open ports",
            f"{whose} listens for other machines: {_named(ports)}. Close them by deploy/firewall/rugpt.nft; "
            "as root, `nft list table inet rugpt` shows whether that was done",
        )
        for whose, ports in exposed.items()
    ]


def exposures(
    listening: Iterable[Listener], running: Iterable[Process], known: dict[int, str]
) -> Iterator[tuple[str, list[Listener]]]:
    """Group what others may connect to by whose it is: `known` names ports that other users may serve."""
    owner = {
        inode: whose
        for process in running
        for whose, looks in _OURS.items()
        if looks.match(process.command)
        for inode in process.sockets
    }
    found: defaultdict[str, list[Listener]] = defaultdict(list)
    for each in listening:
        whose = owner.get(each.inode) or known.get(each.port)
        if whose and each.is_open_to_others:
            found[whose].append(each)
    yield from found.items()


def _known_ports(settings: Settings) -> dict[int, str]:
    """Return the ports of what runs beside the engine on this machine, by its settings."""
    database = settings.database_url.get_secret_value() if settings.database_url else ""
    used = (
        ("PostgreSQL", database, _POSTGRES_PORT),
        ("Ollama", settings.ollama_url, None),
        *(("the model server", url.strip(), None) for url in settings.openai_base_url.split(",")),
    )
    known = {}
    for whose, url, usual in used:
        try:
            parts = urlsplit(url)
            port = parts.port or usual or _WEB_PORTS.get(parts.scheme)
        except ValueError:
            continue  # What is wrong with it is found where it is used.
        if port and parts.hostname and is_loopback(parts.hostname):
            known[port] = whose
    return known


def _named(ports: list[Listener]) -> str:
    return ", ".join(sorted({f"{each.address}:{each.port}" for each in ports}))
