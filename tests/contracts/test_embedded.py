"""The embedded model, for real: 135 million weights, fetched once and kept between test runs."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.adapters.models.embedded import TINY, EmbeddedModel
from engine.adapters.models.wire import Limits
from engine.core.errors import Invalid
from engine.domains.runs import ModelEnd, ModelMessage, ModelRequest, ModelUnavailable, PromptTooLong

from .clients import answer_of

ASK = ModelRequest(
    messages=(ModelMessage("system", "You answer briefly."), ModelMessage("user", "Name three colours.")),
    max_tokens=24,
)


def weights_folder() -> Path:
    """Return where weights are kept between test runs."""
    default = Path(__file__).resolve().parents[2] / ".tools" / "models"
    return Path(os.environ.get("RUGPT_TEST_MODELS") or default)


def servers(of: psutil.Process | None = None) -> list[psutil.Process]:
    """Return the processes in which a process, by default this one, has models."""
    children = (of or psutil.Process()).children()
    return [one for one in children if any("llama_server" in part for part in one.cmdline())]


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[EmbeddedModel]:
    made = EmbeddedModel(
        name=TINY,
        folder=weights_folder(),
        context_tokens=1024,
        parallel=2,
        limits=Limits(first_token_seconds=300),  # The weights may have to be fetched first.
    )
    yield made
    await made.close()


pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]


async def test_it_answers_in_pieces_and_counts_its_tokens(model: EmbeddedModel) -> None:
    text, end = await answer_of(model, ASK)

    assert text.strip()
    assert end.reason in ("stop", "length")
    assert not end.usage.estimated
    assert end.usage.input_tokens > 10  # The chat template was applied: the words alone are fewer.
    assert 0 < end.usage.output_tokens <= 24


async def test_it_says_when_it_is_ready(model: EmbeddedModel) -> None:
    await answer_of(model, ASK)

    health = await model.check()

    assert health.ok
    assert health.detail == "ready"
    assert health.facts["fetched"]


async def test_a_prompt_that_does_not_fit_into_its_window_is_refused_as_such(model: EmbeddedModel) -> None:
    with pytest.raises(PromptTooLong, match="1024"):
        await answer_of(model, replace(ASK, messages=(ModelMessage("user", "слово " * 1000),)))


async def test_more_answers_than_slots_all_come(model: EmbeddedModel) -> None:
    answers = await asyncio.gather(*(answer_of(model, ASK) for _ in range(5)))

    assert all(text.strip() for text, _ in answers)


async def test_closing_the_stream_frees_the_model_within_a_second(model: EmbeddedModel) -> None:
    endless = replace(ASK, messages=(ModelMessage("user", "Count from 1 to 1000."),), max_tokens=900)

    for _ in range(2):  # both slots
        async with aclosing(model.stream(endless)) as parts:  # type: ignore[type-var]  # a generator, in fact
            async for _part in parts:
                break
    closed_at = time.monotonic()
    async for part in model.stream(replace(ASK, max_tokens=1)):
        assert isinstance(part, (str, ModelEnd))

    assert time.monotonic() - closed_at < 1.5  # 900 tokens would take six times that


async def test_it_is_loaded_beside_us_and_another_takes_the_place_of_one_that_is_killed(
    model: EmbeddedModel,
) -> None:
    await answer_of(model, ASK)
    (server,) = servers()
    assert not any("xllamacpp" in each.path for each in psutil.Process().memory_maps())

    server.kill()
    server.wait(5)
    text, _ = await answer_of(model, ASK)

    assert text.strip()
    assert servers() != [server]


async def test_it_ends_with_whoever_has_loaded_it(tmp_path: Path) -> None:
    script = tmp_path / "loads.py"
    script.write_text(
        "import sys, time; from pathlib import Path\n"
        "from engine.adapters.models.embedded import TINY, EmbeddedModel\n"
        "made = EmbeddedModel(name=TINY, folder=Path(sys.argv[1]), context_tokens=256, parallel=1)\n"
        "server = made._load(Path(sys.argv[1]) / made._weights.file, 'k' * 24)\n"
        "print('loaded', flush=True); time.sleep(60)\n"
    )
    loader = await asyncio.create_subprocess_exec(
        sys.executable,
        script,
        weights_folder(),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path.cwd())},
    )
    assert loader.stdout is not None
    assert await loader.stdout.readline() == b"loaded\n"
    (server,) = servers(psutil.Process(loader.pid))
    loader.kill()
    await loader.wait()

    server.wait(5)


async def test_a_file_that_is_no_model_is_told_in_words(tmp_path: Path) -> None:
    made = EmbeddedModel(name=TINY, folder=tmp_path, context_tokens=256, parallel=1)
    (file := tmp_path / "weights.gguf").write_bytes(b"no model")

    with pytest.raises(ModelUnavailable, match=r"could not load weights\.gguf"):
        await asyncio.to_thread(made._load, file, "k" * 24)


async def test_a_prompt_beyond_the_window_is_refused_in_words(model: EmbeddedModel) -> None:
    long = replace(ASK, messages=(ModelMessage("user", "слово " * 4000),))

    with pytest.raises(ModelUnavailable, match="context"):
        await answer_of(model, long)


async def test_an_unknown_embedded_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Invalid, match=TINY):
        EmbeddedModel(name="gpt-9", folder=weights_folder(), context_tokens=1024, parallel=1)


async def test_a_closed_model_does_not_come_back() -> None:
    made = EmbeddedModel(name=TINY, folder=weights_folder(), context_tokens=1024, parallel=1)
    await made.close()

    with pytest.raises(ModelUnavailable, match="closed"):
        await answer_of(made, ASK)
