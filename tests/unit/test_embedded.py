"""What the embedded model is given of its machine."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.adapters.models import TINY, EmbeddedModel, Place, embedded, llama_server
from engine.adapters.models.wire import Limits, ModelServer

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("cores", "writing", "reading"), [(1, 1, 1), (2, 1, 2), (6, 5, 6)])
def test_a_copy_has_threads_for_the_cores_it_was_given_and_room_for_so_many_answers(
    cores: int, writing: int, reading: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("xllamacpp.Server", given.append)
    monkeypatch.setattr(embedded, "LlamaServer", llama_server.load)  # Here, and not in a process of its own.
    copy = EmbeddedModel(name=TINY, folder=tmp_path, context_tokens=1024, parallel=3, place=Place(cores))

    copy._load(tmp_path / "weights.gguf", key="k" * 32)

    (params,) = given
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (writing, reading)
    assert (params.n_parallel, params.n_ctx) == (3, 3 * 1024)
    assert params.cont_batching


@pytest.mark.parametrize(("lives", "busy"), [(True, 1), (False, None)])
async def test_a_copy_that_has_no_time_to_say_what_it_does_counts_as_at_work(
    lives: bool, busy: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_PULSE_SECONDS", 0.2)

    async def reads_a_long_prompt(request: web.Request) -> web.Response:
        if request.path == "/health" and lives:
            return web.json_response({"status": "ok"})
        await asyncio.sleep(1)
        return web.json_response([])

    server = web.Application()
    server.add_routes([web.get("/slots", reads_a_long_prompt), web.get("/health", reads_a_long_prompt)])
    async with TestServer(server) as there:
        copy = EmbeddedModel(name=TINY, folder=tmp_path, context_tokens=1024, parallel=3)
        copy._heard = ModelServer(f"http://127.0.0.1:{there.port}", Limits(), {}, "key")

        assert await copy.pulse() == busy

        await copy.close()
