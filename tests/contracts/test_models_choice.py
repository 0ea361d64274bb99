"""Which model answers is said by the settings, and otherwise by what is there."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.models import DEFAULT, EmbeddedModel, ReplicatedModel, choose_model
from engine.adapters.models.langchain import LangChainModel
from engine.core.errors import Invalid
from engine.core.feed import Feed
from engine.core.settings import Settings
from engine.domains.runs import ReplicaSeen
from engine.tools import every_tool

from .clients import ASK, answer_of
from .fake_models import MODEL, FakeModels

NOWHERE = "http://127.0.0.1:9"


def settings(**values: Any) -> Settings:
    return Settings.model_validate({"ollama_url": NOWHERE, **values})


@pytest.mark.parametrize(
    ("wanted", "provider", "name"),
    [
        ("ollama:qwen2.5:7b", "ollama", "qwen2.5:7b"),
        ("openai:vendor/gpt-x", "openai", "vendor/gpt-x"),
        ("embedded:smollm2-135m", "embedded", "smollm2-135m"),
        ("embedded", "embedded", "qwen2.5-coder-1.5b"),
    ],
)
async def test_what_is_configured_is_chosen(wanted: str, provider: str, name: str) -> None:
    choice = await choose_model(settings(model=wanted), start=False)

    assert (choice.model.provider, choice.model.name) == (provider, name)
    assert "RUGPT_MODEL says so" in choice.reason
    await choice.model.close()


@pytest.mark.parametrize("wanted", ["gpt-x", "claude:opus", "ollama:", "openai", ":"])
def test_what_names_no_model_is_no_setting(wanted: str) -> None:
    with pytest.raises(ValueError, match="provider:name"):
        settings(model=wanted)


async def test_an_unknown_embedded_model_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        await choose_model(settings(model="embedded:gpt-x"), start=False)

    assert "smollm2-135m" in caught.value.message


@pytest.mark.parametrize("replicas", [0, 2])
async def test_the_usual_embedded_model_is_told_only_of_tools_that_it_is_better_with(
    replicas: int, fake: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddedModel, "_fetch", lambda self: Path("weights"))
    monkeypatch.setattr(EmbeddedModel, "_load", lambda self, path, key: LoadedAt(fake.url))
    fake.key, fake.model = None, DEFAULT
    feed = Feed()
    wanted = settings(model="embedded", model_replicas=replicas, model_replica_key="k" * 32)
    model = (await choose_model(wanted, feed=feed)).model
    assert isinstance(model, ReplicatedModel if replicas else EmbeddedModel)
    feed.send(ReplicaSeen("one", model.name, f"{fake.url}/v1", 1, 0, ""))
    specs = tuple(every_tool()[name].spec for name in ("ask_role", "create_event", "search_messages"))

    await answer_of(model, replace(ASK, tools=specs))

    assert [tool["function"]["name"] for tool in fake.requests[0]["tools"]] == ["create_event"]
    await model.close()


@dataclass
class LoadedAt:
    """Stands for llama.cpp with a gigabyte of weights, which this test does not fetch."""

    address: str
    has_ended: bool = False

    def stop(self) -> None:
        self.has_ended = True


async def test_a_reachable_ollama_is_chosen_with_a_model_that_chats(fake: FakeModels) -> None:
    choice = await choose_model(settings(ollama_url=fake.url), start=False)

    assert (choice.model.provider, choice.model.name) == ("ollama", MODEL)
    assert fake.url in choice.reason


async def test_without_any_other_the_embedded_one_is_chosen(tmp_path: Path) -> None:
    choice = await choose_model(settings(data_dir=tmp_path), start=False)

    assert isinstance(choice.model, EmbeddedModel)
    assert choice.model.name == "qwen2.5-coder-1.5b"
    assert "no Ollama answers" in choice.reason
    assert not (await choice.model.check()).ok
    assert not choice.model.is_started  # Nothing is fetched when it is told not to.


async def test_tiny_goes_before_everything(fake: FakeModels) -> None:
    choice = await choose_model(settings(model="openai:x", ollama_url=fake.url), tiny=True, start=False)

    assert (choice.model.provider, choice.model.name) == ("embedded", "smollm2-135m")


@pytest.mark.parametrize("wanted", ["ollama:x", "openai:x"])
async def test_langchain_reads_the_model_when_it_is_asked_for(wanted: str) -> None:
    choice = await choose_model(settings(model=wanted, model_client="langchain"), start=False)

    assert isinstance(choice.model, LangChainModel)
    await choice.model.close()


def test_heavy_libraries_are_not_imported_before_they_are_used() -> None:
    heavy = "langchain_core", "langchain_openai", "openai", "ollama", "xllamacpp", "numpy"
    program = f"import sys, engine.adapters.models; print([m for m in {heavy!r} if m in sys.modules])"

    output = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=30)

    assert output.strip() == "[]"
