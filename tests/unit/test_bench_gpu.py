"""The proof of the path over a GPU: skipped in words without one, and its figures are what was heard."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
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
    made = gpu.section("a server", NAME, "NVIDIA L4", None, results, gpu.Use(97, 2048))

    assert [row[0] for row in made.rows] == ["1", "2"]
    for chats, row in zip((1, 2), made.rows, strict=True):
        first, each, together, failed = row[1:]
        assert 30 <= float(first.split(" / ")[0]) < 1000
        assert float(each) > 0  # Where everything is late, tokens are heard several at a time.
        assert 0 < float(together) <= chats * 8 / 0.1 + 1
        assert failed == "0"
    assert "busy up to 97 %, 2.0 GiB of its memory in use" in made.notes[0]


async def test_a_server_that_hangs_up_after_every_answer_is_measured_as_well() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        hangs_up = b"Connection: close\r\n" if b"Connection: close" in head else b""
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + hangs_up + b"\r\n")
        said: list[object] = [{"choices": [{"delta": {"content": word}}]} for word in ("Да", ".")]
        for each in (*said, {"choices": [], "usage": {"completion_tokens": 2}}):
            event = b"data: " + orjson.dumps(each) + b"\n\n"
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        writer.close()  # As llama.cpp does, whatever it has promised.

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        results = await gpu.measure(Console(quiet=True), port, NAME, steps=(2,))

    assert results[2].errors == []
    assert len(results[2].turns) == 4


def test_llama_server_is_given_the_weights_that_were_asked_for(
    nvidia_smi: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi("")
    (tmp_path / "nvidia-smi").rename(tmp_path / "llama-server")
    monkeypatch.setattr(gpu, "fetch", lambda weights, folder: folder / weights.file)

    name, model, command = gpu.server_command(None, 8000, tmp_path, "smollm2-135m")

    assert (name, model) == ("llama.cpp", "smollm2-135m")
    assert command[command.index("--model") + 1].endswith("/smollm2-135m-instruct-q4_1.gguf")


async def test_the_most_that_was_seen_of_the_gpus_is_told(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi("echo '3, 700'; echo '88, 900'")

    async with gpu.watching() as use:
        pass

    assert (use.percent, use.memory_mib) == (88, 1600)


async def test_a_slice_of_a_gpu_need_not_tell_how_busy_it_is(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi("echo '[N/A], 700'")

    async with gpu.watching() as use:
        pass

    assert (use.percent, use.memory_mib) == (None, 700)


async def test_a_server_that_leaves_the_gpu_idle_proves_nothing(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi("echo '0, 4'")

    with pytest.raises(gpu.NoGpu, match="built with CUDA"):
        async with gpu.watching():
            pass
