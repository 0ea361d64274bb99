"""Whether this machine has room for a Ray of its own."""

from contextlib import suppress
from pathlib import Path

from engine.core.errors import Unavailable

# Ray, a supervisor and one worker hold some 600 MB when idle; they have to work, too.
LEAST_BYTES = 1000 * 2**20
MEMORY = Path("/proc/meminfo")
LIMIT, USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


class NoRoomForRay(Unavailable):
    """This machine has too little free memory for Ray."""

    code = "no_room_for_ray"


def require_room() -> None:
    """Raise NoRoomForRay where Ray would be the one program too many."""
    free = free_bytes()
    if free is not None and free < LEAST_BYTES:
        raise NoRoomForRay(
            f"Ray wants {LEAST_BYTES // 2**20} MB of free memory, and there are {free // 2**20}."
            " Serve with --runtime inline, or on a larger machine."
        )


def free_bytes(*, memory: Path = MEMORY, limit: Path = LIMIT, used: Path = USED) -> int | None:
    """Return how much memory this machine, or our container, has to give; None where nobody knows."""
    found = []
    with suppress(OSError, KeyError, ValueError):  # Not Linux.
        lines = dict(line.split(":", 1) for line in memory.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with suppress(OSError, ValueError):  # No container, or one without a limit.
        found.append(int(limit.read_text()) - int(used.read_text()))
    return min(found, default=None)
