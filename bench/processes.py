"""Starts the servers under test, each as its own process, and reads what they cost from /proc (Linux)."""

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A server is up when a line of its output says so, in words or as JSON, whichever comes first in it.
LISTENING = re.compile(r"^(?=.*listening).*http://[\d.]+:(\d+)", re.MULTILINE | re.IGNORECASE)
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class DidNotStart(Exception):
    """A server ended, or stayed silent, before it listened."""


def announce(port: int) -> None:
    """Print the line by which the bench learns a server's port."""
    print(f"listening on http://127.0.0.1:{port}", flush=True)


@dataclass(slots=True)
class Child:
    """A server in its own process, with its output in a file so that reading it costs us nothing."""

    process: asyncio.subprocess.Process
    port: int
    started: float  # time.perf_counter() just before the process was made
    output: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def stop(self) -> None:
        """Ask it to end; after 15 s, make it."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), 15)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self.output.unlink(missing_ok=True)


async def start(
    module: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    limit_seconds: float = 60,
    within: Sequence[str] = (),
) -> Child:
    """Run a module of this repository as a server and return once it listens.

    It runs in a neutral folder, so that a developer's `.env` cannot change what is measured. `within` is the
    command that runs it somewhere else, such as in another network.
    """
    handle, output = tempfile.mkstemp(prefix="rugpt-bench-", suffix=".log")
    given = environment or {}
    paths = [*filter(None, [given.get("PYTHONPATH")]), str(ROOT)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUGPT_")}
    started = time.perf_counter()
    try:
        process = await asyncio.create_subprocess_exec(
            *(*within, sys.executable, "-m", module, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            cwd=tempfile.gettempdir(),
            env={**kept, **given, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
        )
    finally:
        os.close(handle)
    child = Child(process, 0, started, Path(output))
    try:
        child.port = await _port_of(child, started + limit_seconds)
    except BaseException:
        await child.stop()
        raise
    return child


async def _port_of(child: Child, deadline: float) -> int:
    while True:
        ended = child.process.returncode is not None
        said = child.output.read_text(errors="replace")
        if found := LISTENING.search(said):
            return int(found[1])
        if ended or time.perf_counter() > deadline:
            why = "ended" if ended else "did not listen in time"
            raise DidNotStart(f"{why}; its last words:\n{said[-3000:]}")
        await asyncio.sleep(0.005)


def cpu_seconds(pid: int, *, with_reaped_children: bool = False) -> float:
    """Return the processor time a process has used, in user and system together."""
    fields = _stat(pid)
    return sum(map(int, fields[11 : 15 if with_reaped_children else 13])) / TICKS_PER_SECOND


def memory_mb(pid: int) -> float:
    """Return a process's resident memory, in millions of bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def peak_memory_mb(pid: int) -> float:
    """Return the most resident memory a process has had, in millions of bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def machine_cpu_seconds() -> float:
    """Return the processor time that everybody has used on this machine, or lost to its neighbours."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def tree_cpu_seconds(*pids: int) -> float:
    """Return the processor time of processes, their living descendants and those they have reaped."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended while we looked.
    total, seen, waiting = 0.0, set[int](), list(pids)
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        waiting += parents.get(one, [])
        try:
            total += cpu_seconds(one, with_reaped_children=True)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def descendants(pid: int) -> dict[int, str]:
    """Return a process and its living descendants, with their command lines."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, waiting = dict[int, str](), [pid]
    while waiting:
        one = waiting.pop()
        found[one] = commands.get(one, "")
        waiting += [child for child, parent in parents.items() if parent == one and child not in found]
    return found


def proportional_memory_mb(pid: int) -> float:
    """Return a process's share of the memory it uses, in millions of bytes: shared pages are divided."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def postgres_pid(data: Path) -> int | None:
    """Find the running PostgreSQL server whose files lie under a data folder, if there is one."""
    for file in data.rglob("postmaster.pid"):
        pid = int(file.read_text().split("\n", 1)[0])
        name = Path(f"/proc/{pid}/comm")
        if name.exists() and name.read_text().startswith("postgres"):
            return pid
    return None


async def stop_postgres(data: Path) -> None:
    """End a PostgreSQL server that outlived its engine."""
    pid = postgres_pid(data)
    if pid is None:
        return
    os.kill(pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown.
    for _ in range(100):
        if postgres_pid(data) is None:
            return
        await asyncio.sleep(0.1)
