"""A process that an engine keeps: started again when it dies, and less often when it never comes to life."""

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.cli import kept_process
from engine.cli.kept_process import ALIVE_SECONDS, KeptProcess
from tests.postal import eventually


async def pauses_of(*lives: float, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keep a process that lives for so many seconds each time; return the pauses after each life."""
    now = 0.0
    rest = list(lives)
    pauses: list[float] = []

    async def start(_: KeptProcess) -> Any:
        async def wait() -> int:
            nonlocal now
            if not rest:
                raise asyncio.CancelledError
            now += rest.pop(0)
            return 1

        return SimpleNamespace(wait=wait, returncode=1)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(KeptProcess, "_start", start)
    monkeypatch.setattr(kept_process, "monotonic", lambda: now)
    monkeypatch.setattr(kept_process, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await KeptProcess("dying", stop_seconds=1).run()
    return pauses


async def test_one_that_never_comes_to_life_is_started_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await pauses_of(*[1.0] * 6, monkeypatch=monkeypatch) == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


async def test_one_that_has_lived_is_started_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    long = ALIVE_SECONDS + 1

    assert await pauses_of(1.0, 1.0, long, 1.0, monkeypatch=monkeypatch) == [1.0, 2.0, 1.0, 2.0]


async def test_one_that_does_not_heed_is_killed_though_nobody_can_be_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def warning(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "the terminal is closed")

    monkeypatch.setattr("engine.cli.kept_process.log", SimpleNamespace(error=print, warning=warning))
    kept = KeptProcess("tests.unit.deaf", str(tmp_path / "there"), stop_seconds=0.1)
    keeping = asyncio.create_task(kept.run())
    await eventually((tmp_path / "there").exists, seconds=20)
    (process,) = [one for one in psutil.Process().children() if "tests.unit.deaf" in one.cmdline()]

    keeping.cancel()
    with pytest.raises(OSError, match="closed"):
        await keeping

    assert not process.is_running()
