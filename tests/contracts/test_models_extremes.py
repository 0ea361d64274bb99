"""Numbers no table takes, halves of letters and towers: what servers claim and models write must be kept."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from engine.adapters.models.letters import a_name, counted, sendable
from engine.domains.runs import ModelMessage, ToolCall, ToolSpec

from .clients import ALL, ASK, Client, answer_of, every_client, native_clients
from .fake_models import FakeModels, Script

FIND_LAW = ToolSpec("find_law", "Find a law.", {"type": "object", "properties": {}})
LARGEST = 2**31 - 1
HUGE = 10**39 + 7


def tower(height: int) -> list[Any]:
    """A list in a list in a list, and so on."""
    built: list[Any] = []
    for _ in range(height):
        built = [built]
    return built


@every_client
async def test_a_count_of_tokens_that_no_table_takes_is_cut(client: Client, fake: FakeModels) -> None:
    fake.script = Script(asked_tokens=2**40, written_tokens=10**15)

    _, end = await answer_of(client(fake.url))

    assert (end.usage.input_tokens, end.usage.output_tokens) == (LARGEST, LARGEST)


@native_clients
async def test_a_count_below_nothing_is_nothing(client: Client, fake: FakeModels) -> None:
    fake.script = Script(asked_tokens=-5, written_tokens=-(2**40))

    _, end = await answer_of(client(fake.url))

    assert (end.usage.input_tokens, end.usage.output_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("said", "count"),
    [(7, 7), (0, 0), (-1, 0), (2**31, LARGEST), (True, None), (1.5, None), ("7", None), (None, None)],
)
def test_only_a_number_is_a_count(said: object, count: int | None) -> None:
    assert counted(said) == count


@every_client
@pytest.mark.parametrize(
    "arguments", [{"n": HUGE}, {"n": [-HUGE]}, {"\ud83c": "\udf0d"}, {"deep": tower(300)}], ids=str
)
async def test_whatever_a_model_wrote_into_a_call_can_be_sent_back(
    client: Client, fake: FakeModels, arguments: dict[str, Any]
) -> None:
    messages = (
        *ASK.messages,
        ModelMessage("assistant", "", tool_calls=(ToolCall("call_7", "find_law", arguments),)),
        ModelMessage("tool", "Нет такого.", tool_call_id="call_7", tool_name="find_law"),
    )

    _, end = await answer_of(client(fake.url), replace(ASK, messages=messages, tools=(FIND_LAW,)))

    assert end.reason == "stop"
    assert len(fake.requests) == 1


def test_only_what_cannot_be_sent_is_changed() -> None:
    kept = {"a": [1, -(2**63), 2**64 - 1, 1.5, True, None, "да"], "b": {"c": tower(50)}}

    assert sendable(kept) == kept
    assert sendable({"n": HUGE, "m": [2**64]}) == {"n": str(HUGE), "m": [str(2**64)]}
    assert orjson.loads(orjson.dumps(sendable({"t": tower(900)})))["t"]


@pytest.mark.parametrize("client", [c for c in ALL if "native" in c.name], ids=lambda client: client.name)
async def test_names_and_arguments_with_halves_of_letters_are_mended(
    client: Client, fake: FakeModels
) -> None:
    fake.script = Script(
        pieces=(), escape=True, tool_calls=(("find\ud83c\x00", f'{{"words": "\\ud83c", "n": {HUGE}}}'),)
    )

    _, end = await answer_of(client(fake.url), replace(ASK, tools=(FIND_LAW,)))

    (call,) = end.tool_calls
    assert call.name == "find\ufffd"
    orjson.dumps(call.arguments)
    assert set(call.arguments) in ({"words", "n"}, {"_unreadable"})


@pytest.mark.parametrize(
    ("said", "name"),
    [("call_1", "call_1"), (5, "5"), ("\ud83c\udf0d", "🌍"), ("x" * 999, "x" * 200), (None, ""), ({}, "")],
)
def test_a_name_is_a_short_whole_text(said: object, name: str) -> None:
    assert a_name(said) == name
