"""The four clients that must keep the same promises, each pointed at a server."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from engine.adapters.models import langchain
from engine.adapters.models.ollama import OllamaModel
from engine.adapters.models.openai import OpenAIModel
from engine.adapters.models.wire import Limits
from engine.domains.runs import ChatModel, ModelEnd, ModelMessage, ModelRequest

from .fake_models import KEY, MODEL

QUICK = Limits(connect_seconds=2, first_token_seconds=10, gap_seconds=10, total_seconds=20)
ASK = ModelRequest(
    messages=(ModelMessage("system", "Ты — юрист."), ModelMessage("user", "Можно ли расторгнуть договор?"))
)


OPEN: list[ChatModel] = []
"""What was made in a test, to be closed after it."""


@dataclass(frozen=True)
class Client:
    """How to make one client for a server at an address."""

    name: str
    make: Callable[[str, Limits, str], ChatModel]

    def __call__(self, url: str, limits: Limits = QUICK, *, model: str = MODEL) -> ChatModel:
        made = self.make(url, limits, model)
        OPEN.append(made)
        return made

    @property
    def is_native(self) -> bool:
        return "native" in self.name

    @property
    def speaks_openai(self) -> bool:
        return self.name.startswith("openai")


OPENAI_NATIVE = Client(
    "openai-native",
    lambda url, limits, model: OpenAIModel(name=model, base_url=url + "/v1", api_key=KEY, limits=limits),
)
OLLAMA_NATIVE = Client(
    "ollama-native",
    lambda url, limits, model: OllamaModel(name=model, url=url, context_tokens=4096, limits=limits),
)
OPENAI_LANGCHAIN = Client(
    "openai-langchain",
    lambda url, limits, model: langchain.langchain_openai(
        name=model, base_url=url + "/v1", api_key=KEY, limits=limits
    ),
)
OLLAMA_LANGCHAIN = Client(
    "ollama-langchain",
    lambda url, limits, model: langchain.langchain_ollama(
        name=model, url=url, context_tokens=4096, limits=limits
    ),
)
NATIVE = [OPENAI_NATIVE, OLLAMA_NATIVE]
ALL = [*NATIVE, OPENAI_LANGCHAIN, OLLAMA_LANGCHAIN]
every_client = pytest.mark.parametrize("client", ALL, ids=lambda client: client.name)
native_clients = pytest.mark.parametrize("client", NATIVE, ids=lambda client: client.name)


async def answer_of(model: ChatModel, request: ModelRequest = ASK) -> tuple[str, ModelEnd]:
    """Read a whole answer: its text, and how it ended. Exactly one ModelEnd comes, and comes last."""
    text: list[str] = []
    end: ModelEnd | None = None
    async for part in model.stream(request):
        assert end is None, "something came after the end"
        if isinstance(part, ModelEnd):
            end = part
        else:
            assert part, "an empty piece"
            text.append(part)
    assert end is not None, "no end came"
    return "".join(text), end
