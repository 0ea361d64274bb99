"""Prove the path over a GPU: start vLLM or llama.cpp on it, measure, keep the figures in bench/RESULTS.md.

The server is asked directly, then by an engine in one process and by one with Ray (`scripts/bench --ray`).

    python -m bench.gpu --model Qwen/Qwen2.5-7B-Instruct           vLLM, where it is installed
    python -m bench.gpu                                            llama-server with CUDA, our weights
    python -m bench.gpu --embedded smollm2-135m                    the same with others of ours
    python -m bench.gpu --url http://127.0.0.1:8000 --model NAME   a server that runs already

Without a GPU it says so and does nothing.
"""

import argparse
import asyncio
import importlib.util
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import uvloop
from rich.console import Console

from bench import report
from bench.engine_process import EngineProcess
from bench.http1 import Connection, Event, call, request
from bench.load import ModelAnswer, Result, Target, wave
from bench.ray import INLINE, RAY, RUNTIMES, all_work
from bench.report import Section
from bench.stage import tell_errors
from engine.adapters.models.weights import fetch, known_weights
from ray_cluster.gpu import parser_of

CHATS = (1, 8, 32, 64)
ENGINE_CHATS = (1, 8)
TOKENS = 128
ENGINE_TOKENS = 512  # A call of a tool that is cut off is no answer.
CONTEXT_TOKENS = 4096
START_SECONDS = 600
LOOK_SECONDS = 0.5
EMBEDDED = "qwen2.5-coder-1.5b"
WORDS = "Ты помощник в рабочем чате. Отвечай подробно."


class NoGpu(Exception):
    """There is nothing to measure on; the reason is told, and it is no failure."""


class Spoken(ModelAnswer):
    """Listens to an answer: its first token is the first with words in it, and tokens are counted."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0

    def _hear(self, event: Event) -> None:
        if event.data == b"[DONE]":
            self.done_at = time.perf_counter()
            return
        said = orjson.loads(event.data)
        if usage := said.get("usage"):
            self.tokens = int(usage["completion_tokens"])
        delta = said["choices"][0].get("delta", {}) if said.get("choices") else {}
        if not self.first_at and (delta.get("content") or delta.get("reasoning_content")):
            self.first_at = time.perf_counter()


@dataclass(slots=True)
class Use:
    """The most that was seen of the GPUs: how busy one of them was, and the memory in use on all."""

    percent: int | None = None  # A slice of a GPU does not tell.
    memory_mib: int = 0

    def see(self, said: Sequence[str]) -> None:
        """Take in what nvidia-smi says of each GPU: percent, MiB."""
        percents, memory = zip(*(line.split(", ") for line in said), strict=True)
        told = [int(each) for each in percents if each.isdigit()]
        self.percent = max([*told, self.percent or 0]) if told else self.percent
        self.memory_mib = max(self.memory_mib, sum(int(each) for each in memory if each.isdigit()))

    def __str__(self) -> str:
        busy = "" if self.percent is None else f"busy up to {self.percent} %, "
        return f"While it was asked: {busy}{self.memory_mib / 1024:.1f} GiB of its memory in use."


def gpus() -> list[str]:
    """Return the GPUs of this machine by their names; raise NoGpu when there are none."""
    return _ask("name,memory.total", "csv,noheader")


def _ask(facts: str, form: str) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        raise NoGpu("There is no GPU here: nvidia-smi is absent.")
    asked = [program, f"--query-gpu={facts}", f"--format={form}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not said:
        raise NoGpu(f"nvidia-smi finds no GPU: {(done.stderr or done.stdout).strip()[:200]}")
    return said


@asynccontextmanager
async def watching() -> AsyncIterator[Use]:
    """Look at the GPUs while the block runs; raise NoGpu after it when they did nothing."""
    use, done = Use(), threading.Event()

    def look() -> None:
        is_last = False
        while not is_last:
            is_last = done.wait(LOOK_SECONDS)
            use.see(_ask("utilization.gpu,memory.used", "csv,noheader,nounits"))

    looking = asyncio.create_task(asyncio.to_thread(look))
    try:
        yield use
    finally:
        done.set()
        await looking
    if use.percent == 0:
        raise NoGpu("The model answered, and the GPU did nothing: was its server built with CUDA?")


def server_command(
    model: str | None, port: int, weights: Path, embedded: str = EMBEDDED
) -> tuple[str, str, list[str]]:
    """Return what serves a model on a GPU here: a name for it, the model's name and the command."""
    if model is not None and importlib.util.find_spec("vllm") is not None:
        asked = ["--served-model-name", model, "--host", "127.0.0.1", "--port", str(port)]
        asked += ["--max-model-len", str(CONTEXT_TOKENS), "--enable-prefix-caching"]
        asked += ["--enable-auto-tool-choice", "--tool-call-parser", parser_of(model)]
        return "vLLM", model, [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model, *asked]
    if (program := shutil.which("llama-server")) is not None:
        path = fetch(known_weights()[embedded], weights)
        asked = ["--model", str(path), "--alias", embedded, "--host", "127.0.0.1", "--port", str(port)]
        slots = ["--parallel", str(max(CHATS)), "--ctx-size", str(max(CHATS) * CONTEXT_TOKENS)]
        return "llama.cpp", embedded, [program, *asked, *slots, "--jinja", "--n-gpu-layers", "999"]
    raise NoGpu("There is a GPU, but neither vllm (with --model) nor llama-server to serve a model on it.")


@asynccontextmanager
async def serving(command: Sequence[str], port: int) -> AsyncIterator[float]:
    """Run a model server while the block runs; give the seconds until it was ready."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        try:
            while not await _is_ready(port):
                if process.returncode is not None or time.perf_counter() - began > START_SECONDS:
                    output.seek(0)
                    raise RuntimeError(f"it did not start: {output.read()[-3000:].decode(errors='replace')}")
                await asyncio.sleep(0.5)
            yield time.perf_counter() - began
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _is_ready(port: int) -> bool:
    connection = Connection(port)
    try:
        status, _ = await call(connection, request("GET", "/v1/models"))
    except (OSError, ValueError):
        return False
    finally:
        connection.close()
    return status == 200


def target(port: int, model: str, chats: int) -> Target:
    """Ask for an answer of a fixed length, each chat another question of the same role."""
    requests = []
    for number in range(chats):
        content = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": TOKENS,
            "temperature": 0.3,
            "messages": [
                {"role": "system", "content": WORDS},
                {"role": "user", "content": f"Расскажи о договоре поставки, часть {number}."},
            ],
        }
        # llama.cpp hangs up after a streamed answer, whether it was asked to or not.
        asked = request("POST", "/v1/chat/completions", content, accept="text/event-stream", is_last=True)
        requests.append(asked)
    return Target(port, requests, Spoken)


async def measure(
    console: Console, port: int, model: str, *, steps: Sequence[int] = CHATS
) -> dict[int, Result]:
    """Ask at each number of chats; return what came."""
    results = {}
    for chats in steps:
        result = await wave(target(port, model, chats), turns=2, spread_seconds=0)
        rate = _tokens(result) / _counted_seconds(result)
        console.print(f"{chats:4} chats  {rate:.0f} tokens/s", highlight=False)
        tell_errors(console, result)
        results[chats] = result
    return results


def _tokens(result: Result) -> int:
    return sum(turn.answer.tokens for turn in result.turns if isinstance(turn.answer, Spoken))


def section(
    name: str, model: str, gpu: str, ready: float | None, results: Mapping[int, Result], use: Use
) -> Section:
    """Return the table of figures."""
    rows = []
    for chats, result in results.items():
        writing = sum(turn.total - turn.first for turn in result.turns) or float("nan")
        rows.append(
            (
                str(chats),
                f"{result.first_ms(0.5):.0f} / {result.first_ms(0.95):.0f}",
                f"{_tokens(result) / writing:.0f}",
                # Of all chats together, over the time in which the counted turns went on.
                f"{_tokens(result) / _counted_seconds(result):.0f}",
                str(len(result.errors)),
            )
        )
    started = "It ran already." if ready is None else f"Ready {ready:.0f} s after its start."
    return Section(
        f"gpu {model}",
        f"A model on a GPU: {name}, {model}",
        ("chats", "first token p50 / p95, ms", "tokens/s of one", "tokens/s of all", "failed"),
        tuple(rows),
        (
            f"{gpu}. {started} {use}",
            f"Answers of at most {TOKENS} tokens. A turn of each chat warms up: its prompt is known then.",
        ),
    )


def _counted_seconds(result: Result) -> float:
    starts = [turn.answer.done_at - turn.total for turn in result.turns]
    return max(turn.answer.done_at for turn in result.turns) - min(starts) if starts else float("nan")


async def measure_engines(
    console: Console, port: int, model: str, *, steps: Sequence[int] = ENGINE_CHATS
) -> dict[str, dict[int, Result]]:
    """Have the same server asked by an engine of each runtime; return what came."""
    results: dict[str, dict[int, Result]] = {}
    settings = {
        "RUGPT_MODEL_CONTEXT_TOKENS": str(CONTEXT_TOKENS),
        "RUGPT_MODEL_ANSWER_TOKENS": str(ENGINE_TOKENS),
    }
    for runtime, chosen in RUNTIMES.items():
        with tempfile.TemporaryDirectory(prefix="rugpt-gpu-", ignore_cleanup_errors=True) as folder:
            engine = await EngineProcess.start(
                Path(folder), model=model, model_port=port, settings={**settings, **chosen}
            )
            try:
                await engine.register()
                if runtime == RAY:
                    await all_work(engine, 1)
                chats = await engine.new_chats(max(steps))
                results[runtime] = {
                    each: await wave(engine.target(chats[:each]), turns=3, spread_seconds=0) for each in steps
                }
                for result in results[runtime].values():
                    tell_errors(console, result)
            finally:
                await engine.stop()
        console.print(f"{runtime}: measured", highlight=False)
    return results


def engine_section(model: str, results: Mapping[str, Mapping[int, Result]]) -> Section:
    """Return the table of what Ray adds to the first token, with this model."""
    rows = []
    for chats in results[RAY]:
        inline, with_ray = results[INLINE][chats], results[RAY][chats]
        each = [f"{one.first_ms(0.5):.0f} / {one.first_ms(0.95):.0f}" for one in (inline, with_ray)]
        more = with_ray.first_ms(0.5) - inline.first_ms(0.5)
        rows.append((str(chats), *each, f"{more:.1f}", str(len(inline.errors) + len(with_ray.errors))))
    return Section(
        f"gpu-engine {model}",
        f"A model on a GPU behind the engine, {model}: first token p50 / p95, ms",
        ("chats", INLINE, RAY, "more with Ray at p50", "failed"),
        tuple(rows),
        (
            "A role's prompt is longer than what the model was asked above.",
            "It offers tools as well: a model that calls one is asked again before its first word.",
        ),
    )


async def prove(console: Console, asked: argparse.Namespace) -> list[Section]:
    """Start a server on the GPU, or take the one that runs, and measure it; raise NoGpu where none is."""
    gpu = ", ".join(gpus())
    if asked.url:
        port = urlsplit(asked.url).port or 80
        return await _both(console, port, "a server", asked.model, gpu, None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name, model, command = server_command(asked.model, port, asked.weights, asked.embedded)
    console.print(f"{name}: {model} on {gpu}", highlight=False)
    async with serving(command, port) as ready:
        return await _both(console, port, name, model, gpu, ready)


async def _both(
    console: Console, port: int, name: str, model: str, gpu: str, ready: float | None
) -> list[Section]:
    async with watching() as use:
        results = await measure(console, port, model)
    direct = section(name, model, gpu, ready, results, use)
    return [direct, engine_section(model, await measure_engines(console, port, model))]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--model", help="for vLLM: a name on Hugging Face, or a folder")
    parser.add_argument("--embedded", choices=known_weights(), default=EMBEDDED, help="for llama-server")
    parser.add_argument("--url", help="a server on this machine that runs already")
    parser.add_argument("--weights", type=Path, default=Path("data/models"), help="where weights are kept")
    asked = parser.parse_args(arguments)
    console = Console()
    try:
        found = uvloop.run(prove(console, asked))
    except NoGpu as reason:
        console.print(f"Skipped. {reason}", highlight=False)
        return 0
    for each in found:
        each.show(console)
    report.write(found, sys.argv[1:] if arguments is None else arguments, 0.0, program="python -m bench.gpu")
    return 0


if __name__ == "__main__":
    sys.exit(main())
