"""A Ray cluster of one's own, or a way into another: closed to whoever does not hold the token."""

import ctypes
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from engine.core.errors import Invalid, Unavailable
from engine.core.settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 1.5  # What it hosts has ended before: there is little to be kind about.
LOOK_SECONDS = 0.1
OBJECT_STORE_BYTES = 80 * 2**20  # Nothing large travels; Ray takes no less than 75 MiB.
SHORTEST_TOKEN = 32
PR_SET_PDEATHSIG = 1
MOST_SESSIONS = 16
_locks: list[IO[str]] = []  # held until this process ends
DASHBOARD = ("--include-dashboard=true", "--dashboard-host=127.0.0.1", "--dashboard-port=8265")
# Where a machine of several listens; deploy/firewall/rugpt.nft and docs/guides/ports.md name the same.
MACHINE_PORTS = (
    "--node-manager-port=6380", "--object-manager-port=6381", "--runtime-env-agent-port=6382",
    "--dashboard-agent-grpc-port=6383", "--dashboard-agent-listen-port=6384", "--metrics-export-port=6385",
    "--min-worker-port=10002", "--max-worker-port=10999",
)  # fmt: skip


class RayTokenUnsafe(Invalid):
    """Others can read Ray's token, or it is missing: who has it can run code in the cluster."""

    code = "ray_token_unsafe"


class RayNotInstalled(Unavailable):
    """There is no Ray here; it has no package for Windows, where the engine works runs in its own process."""

    code = "ray_not_installed"


class RayPortsTaken(Unavailable):
    """Something listens where Ray would: most often this machine is one of a cluster already."""

    code = "ray_ports_taken"


class RayNotStarted(Unavailable):
    """Ray did not start in time; its own log says why."""

    code = "ray_not_started"


@dataclass(slots=True)
class Head:
    """A running head of a cluster that is ours: its process and its address."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path
    is_stopping: bool = False

    def stop(self) -> None:
        """End Ray and whatever it hosts."""
        self.is_stopping = True
        end_group(self.process)
        end_those_of(self.folder)


def require_ray() -> None:
    """Raise RayNotInstalled where there is no Ray, without loading it."""
    if find_spec("ray") is None:
        raise RayNotInstalled("Ray is not installed here. Serve with --runtime inline.")


def token_file(settings: Settings) -> Path:
    """Return the file of the cluster's token, made when the cluster is ours and has none.

    Raises RayTokenUnsafe when others can read it, or when a cluster is to be joined without one. A file of
    root's may be readable by one of our groups: so Kubernetes mounts a secret for those who are not root.
    """
    path = settings.ray_token_file or settings.data_dir / "ray" / "token"
    if not path.exists():
        if settings.ray_address is not None or settings.ray_token_file is not None:
            raise RayTokenUnsafe(f"There is no token in {path}. Copy it from the cluster's first machine.")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    if is_open_to_others(path.stat(), user=os.geteuid()):
        raise RayTokenUnsafe(f"Others can read {path}. Run: chmod 600 {path}")
    if len(path.read_text().strip()) < SHORTEST_TOKEN:
        raise RayTokenUnsafe(f"The token in {path} is shorter than {SHORTEST_TOKEN} characters.")
    return path.absolute()


def is_open_to_others(file: os.stat_result, *, user: int) -> bool:
    """Whether a file is for more eyes than a user's own, or than those whom root chose by its group."""
    is_handed_to_us = file.st_uid == 0 and user != 0
    return bool(file.st_mode & (0o037 if is_handed_to_us else 0o077))


def token_here(path: str) -> bytes:
    """Return the token as this machine has it; the path is where the engine's machine keeps it."""
    if told := os.environ.get("RAY_AUTH_TOKEN"):
        return told.strip().encode()
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or path).read_bytes().strip()


def environment(token: Path, *, is_alone: bool = False) -> dict[str, str]:
    """Return the variables that close a cluster and keep it silent, for Ray's processes and for ours.

    A machine that is alone has all of Ray on its loopback.
    """
    # Where it is off, Ray takes 127.0.0.1 for its machine's address and listens nowhere else.
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if is_alone else {}
    return {
        **alone,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9",  # It would tell even that they are off.
        "RAY_DEDUP_LOGS": "0",
        "RAY_ROTATION_MAX_BYTES": str(10 * 2**20),
        "RAY_ROTATION_BACKUP_COUNT": "2",
        "RAY_enable_metrics_collection": "0",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "0",  # Nobody waits for a dashboard that is off.
    }


def namespace_of(settings: Settings) -> str:
    """Return where in a cluster the actors of an installation live: apart from those of other databases."""
    assert settings.database_url is not None, "an engine tells its actors where the database is"
    parts = urlsplit(settings.database_url.get_secret_value())
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}?{parts.query}"
    return f"rugpt-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def require_ports(*more: int) -> None:
    """Raise RayPortsTaken unless the ports of a machine of several are free here, and these."""
    own = [int(each.rpartition("=")[2]) for each in MACHINE_PORTS if "worker-port" not in each]
    for port in (*more, *own):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("", port))
            except OSError as error:
                raise RayPortsTaken(
                    f"Port {port} is taken: this machine is one of a cluster already, by an engine with"
                    " RUGPT_RAY_PORT or another `rugpt worker`, or some other program listens there."
                ) from error


def start_head(
    data_dir: Path,
    variables: Mapping[str, str],
    *,
    port: int = 0,
    has_dashboard: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
) -> Head:
    """Start a cluster, of this machine alone unless others shall find it at a port.

    `meanwhile` is called while it starts. Raises RayNotStarted when it does not come up, and RayPortsTaken.
    """
    if port:
        require_ports(port)
    folder = session_folder(data_dir)
    end_those_of(folder)  # Whoever had it before us was killed, and may have left some behind.
    mark = folder / "ray_current_cluster"
    mark.unlink(missing_ok=True)
    for session in folder.glob("session_*"):  # Of earlier starts, whose logs nobody needs any more.
        if not session.is_symlink():
            shutil.rmtree(session, ignore_errors=True)
    log = folder / "head.log"
    arguments = ["--head", f"--port={port}", f"--temp-dir={folder}"]
    arguments += DASHBOARD if has_dashboard else ("--include-dashboard=false",)
    arguments += ["--no-monitor", "--include-log-monitor=false"]  # They serve an autoscaler and terminals.
    arguments += MACHINE_PORTS if port else ()
    process = _start_ray(arguments, log, {**os.environ, **variables})
    try:
        meanwhile()
        _wait_until_started(process, log, mark)
    except BaseException:  # It may be asked to end meanwhile.
        Head(process, "", folder).stop()
        raise
    return Head(process, mark.read_text().strip(), folder)


def address_towards(cluster: str) -> str:
    """Return by which of its addresses this machine reaches a cluster; nothing is sent."""
    host, _, port = cluster.rpartition(":")
    try:
        family, kind, _, _, there = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as way:
            way.connect(there)
            return str(way.getsockname()[0])
    except (OSError, ValueError) as error:
        raise RayNotStarted(f"There is no way to {cluster}: {error}.") from error


def join(address: str, *, cpus: str = "", gpus: str = "") -> "subprocess.Popen[bytes]":
    """Let this machine be one of a cluster; raises RayNotStarted when it cannot be, and RayPortsTaken."""
    require_ports()
    arguments = [f"--address={address}", f"--node-ip-address={address_towards(address)}", *MACHINE_PORTS]
    arguments += [f"--num-cpus={cpus}"] if cpus else []
    arguments += [f"--num-gpus={gpus}"] if gpus else []
    descriptor, name = tempfile.mkstemp(prefix="rugpt-ray-node-", suffix=".log")
    os.close(descriptor)
    log = Path(name)
    process = _start_ray(arguments, log, dict(os.environ))
    try:
        _wait_until_started(process, log, log)
    except BaseException:
        end_group(process)
        raise
    log.unlink()
    return process


def _start_ray(arguments: Iterable[str], log: Path, variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [
                sys.executable, "-m", "ray_cluster.start", "start", "--block", *arguments,
                "--disable-usage-stats", f"--object-store-memory={OBJECT_STORE_BYTES}",
                "--include-log-monitor=false",  # It would send everybody's output to whoever started it.
            ],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,  # The folder of a head that is elsewhere is made by Ray itself.
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - no other thread runs here yet
        )  # fmt: skip


def _wait_until_started(process: "subprocess.Popen[bytes]", log: Path, mark: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if mark.exists() and b"runtime started" in log.read_bytes():
            return
        time.sleep(LOOK_SECONDS)
    said = log.read_text(errors="replace").strip().splitlines()
    raise RayNotStarted(f"Ray did not start; {log} says why: {said[-1] if said else 'nothing'}")


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it dies, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def session_folder(data_dir: Path) -> Path:
    """Return a folder for Ray's sockets and logs: short, closed to others, of this process while it lives.

    Another Ray of the same data folder, such as one whose engine was killed just now, has another one.
    """
    name = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"rugpt-ray-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise RayTokenUnsafe(f"{folder} belongs to somebody else, or others can open it. Remove it.")
    for number in range(MOST_SESSIONS):
        lock = (folder / f"{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locks.append(lock)
        inner = folder / str(number)  # Ray opens its own folder to everybody.
        inner.mkdir(exist_ok=True)
        return inner
    raise RayNotStarted(f"{MOST_SESSIONS} Rays of {data_dir} run already.")


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process and those that it started: kindly, and then not."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def end_those_of(folder: Path) -> None:
    """End the processes of a Ray by its folder: one that had not found its node yet waits for it a minute."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
            if b"/ray/" in words and f"{folder}/".encode() in words:
                os.kill(int(entry.parent.name), signal.SIGKILL)
        except OSError:
            continue  # It has ended meanwhile, or is somebody else's.
