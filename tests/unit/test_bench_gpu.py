"""The proof of the path over a GPU: skipped in words without one, and its figures are what was heard."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench import gpu, report
from tests.unit.test_bench import _model

NAME = "fake-30-10-8"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program of this name, which does as it is told, before all others."""

    def put(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    return put


@pytest.mark.usefixtures("nvidia_smi")
def test_without_a_gpu_it_says_so_and_is_skipped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "write", lambda *_, **__: pytest.fail("nothing was measured"))

    status = gpu.main([])

    assert status == 0
    assert "Skipped. There is no GPU here: nvidia-smi is absent." in capsys.readouterr().out


def test_a_driver_without_a_gpu_is_told_in_its_own_words(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi("echo 'No devices were found' >&2; exit 6")

    with pytest.raises(gpu.NoGpu, match="No devices were found"):
        gpu.gpus()


def test_a_gpu_with_nothing_to_serve_a_model_says_what_is_missing(
    nvidia_smi: Callable[[str], None], tmp_path: Path
) -> None:
    nvidia_smi("echo 'NVIDIA L4, 23034 MiB'")

    assert gpu.gpus() == ["NVIDIA L4, 23034 MiB"]
    with pytest.raises(gpu.NoGpu, match="llama-server"):
        gpu.server_command(None, 8000, tmp_path)


async def test_tokens_and_times_of_a_server_that_runs_are_those_that_were_heard() -> None:
    async with _model() as port:
        results = await gpu.measure(Console(quiet=True), port, NAME, steps=(1, 2))
    made = gpu.section("a server", NAME, "NVIDIA L4", None, results)

    assert [row[0] for row in made.rows] == ["1", "2"]
    for chats, row in zip((1, 2), made.rows, strict=True):
        first, each, together, failed = row[1:]
        assert 30 <= float(first.split(" / ")[0]) < 1000
        assert float(each) > 0  # Where everything is late, tokens are heard several at a time.
        assert 0 < float(together) <= chats * 8 / 0.1 + 1
        assert failed == "0"
