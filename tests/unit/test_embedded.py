"""What the embedded model is given of its machine."""

from pathlib import Path
from typing import Any

import pytest

from engine.adapters.models import TINY, EmbeddedModel, Place, embedded, llama_server

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
