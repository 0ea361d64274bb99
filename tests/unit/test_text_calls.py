"""Tool calls written as text are found when they are calls, and only then; the rest is shown at once."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domains.runs import ToolCall, ToolSpec
from engine.graphs.text_calls import HeldText, find_text_calls, fits

REMIND = ToolSpec(
    "remind",
    "Напомнить.",
    {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "hours": {"type": "integer"},
            "how": {"enum": ["mail", "chat"]},
        },
        "required": ["text"],
        "additionalProperties": False,
    },
)
ANYTHING = ToolSpec("anything", "Что угодно.", {"type": "object"})
SPECS = (REMIND, ANYTHING)
CALL = '{"name": "remind", "arguments": {"text": "Позвонить Петрову", "hours": 2}}'
CALL_TWICE = f"[{CALL}, {CALL}]"

ARGUMENTS = {"text": "Позвонить Петрову", "hours": 2}


def what(calls: Iterable[ToolCall]) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in calls]


def shown_and_held(pieces: list[str]) -> tuple[list[str], str]:
    held = HeldText()
    return [held.feed(piece) for piece in pieces], held.held


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (CALL, 1),
        (f"\n  {CALL}\n", 1),
        (CALL.replace("arguments", "parameters"), 1),
        (CALL_TWICE, 2),
        (f"{CALL}\n{CALL}", 2),
        (f"<tool_call>\n{CALL}\n</tool_call>", 1),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", 2),
        (f"Сейчас.\n<tool_call>{CALL}</tool_call>", 1),
        (f"<tools>\n{CALL}\n</tools>", 1),
        (f"```json\n{CALL}\n```", 1),
        (f"```\n{CALL}\n```", 1),
        (f"```JSON\r\n{CALL}\r\n```", 1),
        (f"```json {CALL}```", 1),
        (f"Поставлю напоминание:\n\n```json\n{CALL_TWICE}\n```\nГотово.", 2),
    ],
)
def test_a_call_is_found_in_every_dress(text: str, count: int) -> None:
    calls = find_text_calls(text, SPECS)

    assert what(calls) == [("remind", ARGUMENTS)] * count
    assert len({call.id for call in calls}) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Просто ответ.",
        "{}",
        "[]",
        "[1] Статья 619 ГК РФ",
        "{не json}",
        CALL[:-1],
        CALL + " и ещё слова",
        f"Вызов: {CALL}",
        CALL.replace("remind", "delete_everything"),
        CALL.replace('"text": "Позвонить Петрову", ', ""),
        CALL.replace("2}", '"два"}'),
        CALL.replace("2}", "true}"),
        CALL.replace('"hours": 2', '"how": "smoke"'),
        CALL.replace('"hours": 2', '"extra": 2'),
        '{"name": "anything", "arguments": "text"}',
        '{"name": "anything", "arguments": [1]}',
        '{"name": "anything"}',
        '{"name": "anything", "arguments": {}, "why": "because"}',
        '{"name": "anything", "arguments": {"a": NaN}}',
        '{"name": "anything", "arguments": {"a": "\\ud800"}}',
        f'{{"name": "anything", "arguments": {{"n": {10**39}}}}}',
        '{"name": 5, "arguments": {}}',
        '{"name": "anything", "arguments": ' + '{"a":' * 2000 + "1" + "}" * 2001,
        '{"name": "anything", "arguments": {"a": "' + "x" * 17000 + '"}}',
        f"[{', '.join([CALL] * 17)}]",
        f"```python\n{CALL}\n```",
        f"```json\n{CALL}\n",
        f"```json\n{CALL}\n```\n```json\n{CALL}\n```",
        f"{'Длинное рассуждение. ' * 20}\n```json\n{CALL}\n```",
        f"```json\n{CALL}\n```\n{'Длинное рассуждение. ' * 20}",
        f"<tool_call>{CALL}",
        f"<tool_call>{CALL}</tool_cal>",
        f"[{CALL}, 5]",
    ],
)
def test_anything_else_stays_text(text: str) -> None:
    assert find_text_calls(text, SPECS) == ()


def test_ordinary_words_are_shown_the_moment_they_come() -> None:
    pieces = ["Здрав", "ствуйте", ", ", "Анна", "!\n", "Дого", "вор [1] {см. ниже}", "."]

    shown, held = shown_and_held(pieces)

    assert shown == pieces
    assert held == ""


def test_a_call_is_never_shown() -> None:
    shown, held = shown_and_held(list(f"```json\n{CALL}\n```"))

    assert "".join(shown) == ""
    assert held == f"```json\n{CALL}\n```"


def test_the_sentence_before_a_call_is_shown_and_the_call_is_not() -> None:
    shown, held = shown_and_held(list(f"Поставлю напоминание:\n```json\n{CALL}\n```"))

    assert "".join(shown) == "Поставлю напоминание:\n"
    assert held == f"```json\n{CALL}\n```"


@pytest.mark.parametrize(
    ("text", "shown_by"),
    [
        ("```python\nprint(1)", len("```p")),
        ("[1] Статья", len("[1")),
        ("{см. ниже} слова", len("{с")),
        ('{"риск": "нет"', len('{"риск"')),
        ("`имя` слова", len("`и")),
        ("<b>слова", len("<b")),
        ("```json\nпросто", len("```json\nп")),
    ],
)
def test_what_cannot_become_a_call_is_let_go_at_once(text: str, shown_by: int) -> None:
    shown, _ = shown_and_held(list(text))

    assert "".join(shown[: shown_by - 1]) == ""
    assert "".join(shown[:shown_by]) == text[:shown_by]
    assert "".join(shown) == text


def test_what_is_held_is_let_go_when_it_grows_beyond_a_call() -> None:
    shown, held = shown_and_held(['{"name": "', *["слово "] * 3000])

    assert "".join(shown).startswith('{"name": "слово')
    assert held == ""


def test_what_is_left_is_shown_at_the_end() -> None:
    held = HeldText()
    held.feed('{"name": "remind"')

    assert held.finish() == '{"name": "remind"'
    assert held.held == ""
    assert held.feed("{") == "{"


LETTERS = st.text(alphabet='{}[]"`<>/: \n\\,jsonaметl_1', max_size=30)
PARTS = st.sampled_from(
    [
        CALL,
        CALL_TWICE,
        "```json\n",
        "\n```",
        "```",
        "<tool_call>",
        "</tool_call>",
        "<tools>",
        "</tools>",
        "Сейчас. ",
        "\n",
        '{"name": "',
    ]
)
TEXTS = st.lists(st.one_of(PARTS, LETTERS), max_size=8).map("".join)


@given(TEXTS, st.data())
def test_whatever_the_chunks_shown_and_held_make_the_whole(text: str, data: st.DataObject) -> None:
    pieces = cut(text, data)

    shown, held = shown_and_held(pieces)

    assert "".join(shown) + held == text
    if calls := find_text_calls(text, SPECS):
        # What will be executed has not been shown: only the sentence before it was.
        assert CALL not in "".join(shown)
        assert what(find_text_calls(held, SPECS)) == what(calls)


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DRESSES = [
    "{}",
    " {}\n",
    "<tool_call>{}</tool_call>",
    "<tools>{}</tools>",
    "```json\n{}\n```",
    "Сейчас.\n```\n{}\n```\nВот.",
]


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=3), st.sampled_from(DRESSES), st.data())
def test_every_valid_call_is_found_and_held_whatever_its_arguments(
    arguments: dict[str, Any], dress: str, data: st.DataObject
) -> None:
    text = dress.replace("{}", json.dumps({"name": "anything", "arguments": arguments}))
    shown, _ = shown_and_held(cut(text, data))

    calls = find_text_calls(text, SPECS)

    assert [call.arguments for call in calls] == [arguments]
    assert "anything" not in "".join(shown)


def cut(text: str, data: st.DataObject) -> list[str]:
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize(
    ("schema", "value", "fit"),
    [
        ({"type": ["string", "null"]}, None, True),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x", False),
        ({"type": "array", "items": {"type": "number"}}, [1, 2.5], True),
        ({"type": "array", "items": {"type": "number"}}, [1, "x"], False),
        ({"const": 3}, 4, False),
        ({"$ref": "#/$defs/Elsewhere"}, "x", True),
    ],
)
def test_the_simple_words_of_a_schema_are_understood(schema: dict[str, Any], value: Any, fit: bool) -> None:
    assert fits(schema, value) is fit
