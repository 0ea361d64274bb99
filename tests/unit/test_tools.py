"""Tools: what a model may ask for, and that nothing it writes can raise."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from engine.core.errors import Unavailable
from engine.domains.runs import ToolCall
from engine.tools import FoundMessage, Registry, Toolbox, ToolContext, ToolRecord, describe_time, every_tool

NOW = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
ALL = ("current_time", "search_messages", "ask_role")


async def nothing_found(query: str, limit: int) -> list[FoundMessage]:
    return []


def toolbox(
    *, registry: Registry | None = None, allowed: tuple[str, ...] = ALL, **more: Any
) -> tuple[Toolbox, list[ToolRecord]]:
    records: list[ToolRecord] = []
    context = ToolContext(
        **{
            "now": NOW,
            "timezone": "Europe/Moscow",
            "search_messages": nothing_found,
            "record": records.append,
            "lineage": ("lawyer",),
            **more,
        }
    )
    return (registry or every_tool()).open(allowed, context), records


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall("call-1", name, arguments)


async def hurry(context: ToolContext, *, times: Annotated[int, Field(description="How often.")] = 1) -> str:
    """Do something that goes wrong in a way the number chooses."""
    if times == 1:
        raise Unavailable("Архив не отвечает.")
    if times == 2:
        raise ZeroDivisionError
    if times == 3:
        await asyncio.sleep(60)
    return "я" * times


def hurried() -> Registry:
    registry = Registry()
    registry.add(hurry, seconds=0.05)
    return registry


def test_a_model_is_told_every_tool_and_every_argument() -> None:
    box, _ = toolbox()

    for spec in box.specs:
        assert spec.description
        assert spec.parameters["type"] == "object"
        assert spec.parameters["additionalProperties"] is False
        assert all(argument["description"] for argument in spec.parameters["properties"].values())
        json.dumps(spec.parameters)
    search = next(spec for spec in box.specs if spec.name == "search_messages")
    assert search.parameters["required"] == ["query"]
    assert search.parameters["properties"]["limit"]["maximum"] == 20


async def test_the_time_is_told_on_the_askers_clock() -> None:
    box, records = toolbox()

    result = await box.call(call("current_time"), step=3)

    assert "воскресенье, 22 ноября 2026 г., 01:30 (Europe/Moscow, UTC+03:00)" in result.text
    assert "2026-11-22T01:30:00+03:00" in result.text
    record = records[0]
    assert (record.role, record.step, record.tool, record.outcome) == ("lawyer", 3, "current_time", "ok")


@pytest.mark.parametrize("timezone", ["Нарния", "", "../etc/passwd", "a\x00b", "/etc/localtime"])
def test_an_unknown_timezone_is_utc_and_says_so(timezone: str) -> None:
    assert describe_time(NOW, timezone) == "суббота, 21 ноября 2026 г., 22:30 (UTC, UTC+00:00)"


async def test_found_messages_are_shown_with_number_speaker_and_time() -> None:
    async def search(query: str, limit: int) -> list[FoundMessage]:
        return [FoundMessage(no, "Пётр", NOW, f"{query}\n" + "о" * 900) for no in range(limit)]

    box, _ = toolbox(search_messages=search)

    result = await box.call(call("search_messages", query="отпуск", limit="2"), step=1)

    lines = result.text.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("№0 · 22.11.2026 01:30 · Пётр: отпуск оооо")
    assert max(map(len, lines)) < 700


async def test_a_search_that_finds_nothing_says_so() -> None:
    box, _ = toolbox()

    result = await box.call(call("search_messages", query="отпуск"), step=1)

    assert "ничего не найдено" in result.text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"query": "x", "limit": 21}, "limit"),
        ({"query": "x", "limit": "много"}, "limit"),
        ({"query": ""}, "query"),
        ({}, "query"),
        ({"query": "x", "chat": "другой"}, "chat"),
        ({"query": {"$ne": 1}}, "query"),
    ],
)
async def test_invalid_arguments_are_told_to_the_model(arguments: dict[str, Any], told: str) -> None:
    box, records = toolbox()

    result = await box.call(ToolCall("call-1", "search_messages", arguments), step=1)

    assert result.outcome == records[0].outcome == "refused"
    assert told in result.text
    assert records[0].arguments == arguments


async def test_an_unknown_tool_is_answered_with_those_there_are() -> None:
    box, records = toolbox(allowed=("current_time",))

    unknown = await box.call(call("rm_rf"), step=1)
    forbidden = await box.call(call("ask_role", code="hr", question="?"), step=1)

    assert "current_time" in unknown.text
    assert "ask_role" not in unknown.text
    assert unknown.outcome == forbidden.outcome == "refused"
    assert [record.tool for record in records] == ["rm_rf", "ask_role"]


@pytest.mark.parametrize(
    ("times", "outcome", "told"),
    [
        (1, "refused", "Архив не отвечает."),
        (2, "failed", "внутренней ошибки"),
        (3, "failed", "не успел ответить за 0.05 с"),
        (4, "ok", "яяяя"),
    ],
)
async def test_whatever_goes_wrong_in_a_tool_is_text(times: int, outcome: str, told: str) -> None:
    box, records = toolbox(registry=hurried(), allowed=("hurry",))

    result = await box.call(call("hurry", times=times), step=1)

    assert (result.outcome, records[0].outcome) == (outcome, outcome)
    assert told in result.text


async def test_a_long_result_is_cut_and_says_so() -> None:
    box, records = toolbox(registry=hurried(), allowed=("hurry",))

    result = await box.call(call("hurry", times=9_000), step=1)

    assert len(result.text) == 8_000
    assert result.text.endswith("обрезано: всего 9000 знаков.")
    assert len(records[0].result_excerpt) == 500


async def test_a_cancelled_call_is_recorded_and_stays_cancelled() -> None:
    registry = Registry()
    registry.add(hurry)
    box, records = toolbox(registry=registry, allowed=("hurry",))
    task = asyncio.create_task(box.call(call("hurry", times=3), step=1))
    await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (records[0].outcome, records[0].result_excerpt) == ("failed", "Прервано.")


@pytest.mark.parametrize(
    ("lineage", "told"),
    [
        (("hr", "lawyer"), "уже участвует"),
        (("a", "b", "lawyer"), "Ответь сам"),
        (("lawyer",), "здесь нельзя"),
    ],
)
async def test_a_question_is_not_handed_round_in_circles(lineage: tuple[str, ...], told: str) -> None:
    box, _ = toolbox(lineage=lineage)

    result = await box.call(call("ask_role", code="hr", question="Сколько дней?"), step=1)

    assert result.outcome == "refused"
    assert told in result.text


async def no_words(context: ToolContext) -> str:
    return ""


async def no_argument_words(context: ToolContext, *, count: int) -> str:
    """Say something about itself but not about its argument."""
    return ""


async def by_position(context: ToolContext, count: Annotated[int, Field(description="x")]) -> str:
    """Take its argument by position."""
    return ""


@pytest.mark.parametrize("tool", [no_words, no_argument_words, by_position])
def test_a_tool_that_a_model_could_not_understand_is_not_registered(tool: Any) -> None:
    with pytest.raises(TypeError, match=tool.__name__):
        Registry().add(tool)


def test_two_tools_of_one_name_are_refused() -> None:
    registry = hurried()

    with pytest.raises(TypeError, match="two tools"):
        registry.add(hurry)


def test_opening_an_unknown_tool_is_a_bug_at_once() -> None:
    with pytest.raises(KeyError):
        toolbox(allowed=("fly",))


ANY = st.characters(exclude_categories=())  # lone surrogates and NUL too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(ANY), inner, max_size=3),
    max_leaves=10,
)


@given(name=st.sampled_from((*ALL, "fly")) | st.text(ANY), arguments=JSON, query=JSON, call_id=st.text(ANY))
async def test_no_call_a_model_writes_can_raise(name: str, arguments: Any, query: Any, call_id: str) -> None:
    box, records = toolbox()

    for wish in (arguments, {"query": query}, {"code": query, "question": query}):
        result = await box.call(ToolCall(call_id, name, wish), step=1)
        assert result.text

    for record in records:  # The audit trail takes JSON in UTF-8, and PostgreSQL no NUL.
        stored = json.dumps(record.arguments, allow_nan=False, ensure_ascii=False).encode()
        assert b"\\u0000" not in stored
        (record.tool + record.call_id + record.result_excerpt).encode()


async def test_a_tower_of_arguments_is_refused() -> None:
    tower: Any = "x"
    for _ in range(500):
        tower = [tower]
    box, records = toolbox()

    result = await box.call(call("search_messages", query=tower), step=1)

    assert (result.outcome, records[0].arguments) == ("refused", {})
