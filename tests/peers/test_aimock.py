"""Every model client against somebody else's idea of the OpenAI and Ollama protocols.

aimock comes from npm, so this belongs to the second stage of the tests: it needs Node.
"""

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.adapters.models.langchain import langchain_ollama, langchain_openai
from engine.adapters.models.ollama import OllamaModel
from engine.adapters.models.openai import OpenAIModel
from engine.adapters.models.wire import Limits
from engine.core.errors import Refusal
from engine.domains.runs import (
    ChatModel,
    ModelEnd,
    ModelGarbled,
    ModelMessage,
    ModelRequest,
    ModelUnavailable,
    ToolSpec,
)
from scripts.node import find_npm

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
PROGRAM = HERE / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
LIMITS = Limits(connect_seconds=2, first_token_seconds=5, gap_seconds=5, total_seconds=10)
FIND_LAW = ToolSpec(
    "find_law", "Find a law.", {"type": "object", "properties": {"words": {"type": "string"}}}
)


@pytest.fixture(scope="module")
def aimock() -> Iterator[str]:
    """Run aimock on a free port and give its address."""
    found = find_npm()
    assert found is not None, "scripts/test --system brings Node"
    assert PROGRAM.exists(), "scripts/test --system brings aimock"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [found[0], str(PROGRAM), "--port", str(port), "--fixtures", str(HERE / "answers")]
    process = subprocess.Popen([*command, "--chunk-size", "7", "--latency", "25", "--log-level", "warn"])
    try:
        asyncio.run(answering(port, process))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


async def answering(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when somebody listens."""
    async with asyncio.timeout(20):
        while True:
            assert process.poll() is None, "aimock ended"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return


@pytest.fixture(params=["openai-native", "ollama-native", "openai-langchain", "ollama-langchain"])
async def model(request: pytest.FixtureRequest, aimock: str) -> AsyncIterator[ChatModel]:
    made: ChatModel
    name, base_url = "test-model", f"{aimock}/v1"
    if request.param == "openai-native":
        made = OpenAIModel(name=name, base_url=base_url, api_key="any", limits=LIMITS)
    elif request.param == "ollama-native":
        made = OllamaModel(name=name, url=aimock, context_tokens=4096, limits=LIMITS)
    elif request.param == "openai-langchain":
        made = langchain_openai(name=name, base_url=base_url, api_key="any", limits=LIMITS)
    else:
        made = langchain_ollama(name=name, url=aimock, context_tokens=4096, limits=LIMITS)
    yield made
    await made.close()


def asking(words: str, *tools: ToolSpec) -> ModelRequest:
    return ModelRequest(messages=(ModelMessage("user", words),), tools=tools)


async def read(model: ChatModel, request: ModelRequest) -> tuple[list[str], ModelEnd | None, Refusal | None]:
    pieces: list[str] = []
    try:
        async for part in model.stream(request):
            if isinstance(part, ModelEnd):
                return pieces, part, None
            pieces.append(part)
    except Refusal as error:
        return pieces, None, error
    return pieces, None, None


def written(match: str) -> str:
    """Return what the peer was told to say."""
    listed = json.loads((HERE / "answers" / "answers.json").read_text())["fixtures"]
    return str(next(f["response"]["content"] for f in listed if f["match"]["userMessage"] == match))


async def test_a_russian_answer_comes_whole_and_in_pieces(model: ChatModel) -> None:
    pieces, end, error = await read(model, asking("Можно ли расторгнуть договор?"))

    assert error is None
    assert "".join(pieces) == written("расторгнуть")
    assert len(pieces) > 3
    assert end is not None
    assert end.reason == "stop"


async def test_a_tool_call_comes_whole(model: ChatModel) -> None:
    _, end, error = await read(model, asking("найди закон", FIND_LAW))

    assert error is None
    assert end is not None
    assert end.reason == "tool_calls"
    assert [(call.name, call.arguments) for call in end.tool_calls] == [("find_law", {"words": "аренда"})]


async def test_a_refusal_is_told_in_the_words_of_the_server(model: ChatModel) -> None:
    pieces, _, error = await read(model, asking("слишком часто"))

    assert pieces == []
    assert isinstance(error, ModelUnavailable)
    assert "Rate limited by the peer" in error.message


async def test_a_cut_answer_is_an_error_after_its_words(model: ChatModel) -> None:
    pieces, end, error = await read(model, asking("оборви"))

    assert end is None
    assert written("оборви").startswith("".join(pieces))
    assert isinstance(error, (ModelUnavailable, ModelGarbled))


async def test_a_stream_can_be_closed_in_the_middle(model: ChatModel) -> None:
    async with aclosing(model.stream(asking("Можно ли расторгнуть договор?"))) as parts:  # type: ignore[type-var]
        first = await anext(parts)

    assert isinstance(first, str)
