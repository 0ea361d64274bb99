"""Tool calls that a small model writes into its answer as JSON, for want of a better way."""

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn
from uuid import uuid4

import orjson

from engine.domains.runs import ToolCall, ToolSpec

_SENTENCE_LIMIT = 300  # with more words around it, a block is an example in an answer
_HELD_LIMIT = 16_000  # nobody waits longer to see whether it was a call
_CALL_LIMIT = 16
_DEPTH_LIMIT = 50

_FENCE = "```"
_TAGS = {"<tool_call>": "</tool_call>", "<tools>": "</tools>"}  # Qwen's own, and what its coders make of it
_MARKS = (_FENCE, *_TAGS)
_MARK_LETTERS = frozenset(mark[0] for mark in _MARKS)
_LANGUAGES = ("json", "tool_call", "tool_code")
_INFO = re.compile(r"```([^\s{\[]*)")
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|["{}\[\]]', re.DOTALL)
_FIRST_KEY = re.compile(r'\[?\s*\{\s*"([^"\\]*)"')
_SPACE = re.compile(r"\s*")
_ARGUMENTS = ("arguments", "parameters")
_KEYS = {"name", *_ARGUMENTS, "id", "type"}


def find_text_calls(text: str, specs: Sequence[ToolSpec]) -> tuple[ToolCall, ...]:
    """Return the tool calls that a whole answer consists of; nothing when it is just text.

    Understood are JSON objects `{"name", "arguments"}` (or `"parameters"`), alone, one after another or in
    a list; and the same in tags (`<tool_call>`, `<tools>`) or in one fenced block, which may have a short
    sentence before and after. Every call must name one of `specs` with arguments that fit its schema, or
    all of it stays text. The schema is checked as far as a model gets it wrong (type, required, enum,
    nesting); the tool's own validation has the last word.
    """
    try:
        _, written = _scan(text)
    except (_JustText, _Unfinished):
        return ()
    known = {spec.name: spec for spec in specs}
    calls = []
    for one in written:
        spec, arguments = known.get(one["name"]), _arguments_of(one)
        if spec is None or not fits(spec.parameters, arguments):
            return ()
        calls.append(ToolCall(id=f"call_{uuid4().hex[:12]}", name=spec.name, arguments=arguments))
    return tuple(calls)


class HeldText:
    """Says of an answer in the making what may be shown: all but what may still turn out a tool call.

    Show what `feed` returns. What is `held` at the end is a tool call if `find_text_calls` says so of the
    whole text, and otherwise text to be shown after all: `finish` hands it out.
    """

    __slots__ = ("_flows", "_is_prose", "_shown", "_text", "_waits_for")

    def __init__(self) -> None:
        self._flows = False
        self._is_prose = False
        self._text = ""
        self._shown = 0
        self._waits_for: frozenset[str] | None = None

    @property
    def held(self) -> str:
        """What has not been shown."""
        return self._text[self._shown :]

    def finish(self) -> str:
        """Return what is held, to be shown after all; from now on everything may be shown."""
        rest = self.held
        self._flows, self._text, self._shown = True, "", 0
        return rest

    def feed(self, piece: str) -> str:
        """Take the next piece and return the text that may be shown now."""
        if self._flows:
            return piece
        self._text += piece
        if self._is_prose and len(self._text) <= _SENTENCE_LIMIT and _MARK_LETTERS.isdisjoint(piece):
            self._shown = len(self._text)
            return piece  # Among words only the beginning of a mark can bring news.
        if (
            self._waits_for is not None
            and len(self._text) <= _HELD_LIMIT
            and self._waits_for.isdisjoint(piece)
        ):
            return ""  # In the middle of JSON only a bracket can bring news.
        self._waits_for = None
        try:
            keep_from, _ = _scan(self._text)
        except _Unfinished as unfinished:
            keep_from, self._waits_for = unfinished.start, unfinished.waits_for
        except _JustText:
            keep_from, self._flows = len(self._text), True
        shown = self._text[self._shown : keep_from]
        self._shown = max(self._shown, keep_from)
        self._is_prose = self._shown == len(self._text) > 0
        if self._flows:
            self._text, self._shown = "", 0
        return shown


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Say whether a value has the shape that a JSON Schema asks for, as far as its simple words go."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "anyOf" in schema and not any(fits(option, value) for option in schema["anyOf"]):
        return False
    wanted = schema.get("type")
    kinds = wanted if isinstance(wanted, list) else [wanted] if wanted else []
    if kinds and not any(_is_a(kind, value) for kind in kinds):
        return False
    if isinstance(value, dict):
        return _fits_object(schema, value)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return all(fits(schema["items"], item) for item in value)
    return True


class _JustText(Exception):
    """It is no tool call, whatever comes."""


class _Unfinished(Exception):
    """It may become a tool call from `start` on; only one of `waits_for` can bring news."""

    def __init__(self, start: int, waits_for: frozenset[str] | None = None) -> None:
        super().__init__(start)
        self.start = start
        self.waits_for = waits_for


def _scan(text: str) -> tuple[int, list[dict[str, Any]]]:
    """Return where the calls begin in an answer, and the calls."""
    if len(text) > _HELD_LIMIT:
        raise _JustText
    first = _skip_space(text, 0)
    if first == len(text):
        raise _Unfinished(0)
    if text[first] in "{[":
        end, calls = _objects(text, first, 0)
        return (0, calls) if end == len(text) else _no()
    begin = min((at for at in map(text.find, _MARKS) if at >= 0), default=None)
    if begin is None:
        if len(text) - first > _SENTENCE_LIMIT:
            raise _JustText
        raise _Unfinished(len(text) - _opening_letters(text))
    if begin - first > _SENTENCE_LIMIT:
        raise _JustText
    start = begin if begin > first else 0
    read = _fenced if text.startswith(_FENCE, begin) else _tagged
    end, calls = read(text, begin, start)
    after = text[end:].strip()
    if len(after) > _SENTENCE_LIMIT or any(mark in after for mark in _MARKS):
        raise _JustText
    return start, calls


def _fenced(text: str, begin: int, start: int) -> tuple[int, list[dict[str, Any]]]:
    info = _INFO.match(text, begin)
    assert info is not None
    language = info[1].lower()
    if info.end() == len(text):
        if any(known.startswith(language) for known in _LANGUAGES):
            raise _Unfinished(start)
        raise _JustText
    if language and language not in _LANGUAGES:
        raise _JustText
    at, calls = _body(text, info.end(), start)
    return _closed(text, at, _FENCE, start), calls


def _tagged(text: str, begin: int, start: int) -> tuple[int, list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []
    at = begin
    tag = next(tag for tag in _TAGS if text.startswith(tag, begin))
    while text.startswith(tag, at):
        at, more = _body(text, at + len(tag), start)
        calls += more
        at = _closed(text, at, _TAGS[tag], start)
        following = _skip_space(text, at)
        if text.startswith(tag, following):
            at = following
    return (at, calls) if len(calls) <= _CALL_LIMIT else _no()


def _body(text: str, at: int, start: int) -> tuple[int, list[dict[str, Any]]]:
    at = _skip_space(text, at)
    if at == len(text):
        raise _Unfinished(start)
    if text[at] not in "{[":
        raise _JustText
    return _objects(text, at, start)


def _closed(text: str, at: int, mark: str, start: int) -> int:
    if text.startswith(mark, at):
        return at + len(mark)
    if mark.startswith(text[at:]):
        raise _Unfinished(start)
    raise _JustText


def _objects(text: str, at: int, start: int) -> tuple[int, list[dict[str, Any]]]:
    """Read JSON objects, or lists of them, one after another; return where they end, and the calls."""
    calls: list[dict[str, Any]] = []
    while at < len(text) and text[at] in "{[":
        end = _json_end(text, at, start)
        calls += _calls_in(text[at:end])
        at = _skip_space(text, end)
    return (at, calls) if len(calls) <= _CALL_LIMIT else _no()


def _json_end(text: str, at: int, start: int) -> int:
    """Return where the JSON value at this place ends, counting brackets outside of strings."""
    key = _FIRST_KEY.match(text, at)
    if key is not None and key[1] not in _KEYS:
        raise _JustText
    follows = text[at + 1 : at + 2000].lstrip()
    if key is None and follows and follows[0] not in ('"' if text[at] == "{" else "{"):
        raise _JustText
    depth = 0
    for token in _TOKENS.finditer(text, at):
        letter = token[0]
        if letter in ("{", "["):
            depth += 1
            if depth > _DEPTH_LIMIT:
                raise _JustText
        elif letter in ("}", "]"):
            depth -= 1
            if depth == 0:
                return token.end()
        elif letter == '"':
            break  # A string that has not ended yet.
    # A first key that is not whole yet may soon tell more than a bracket.
    raise _Unfinished(start, frozenset("}]") if key is not None else None)


def _calls_in(written: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(written, parse_constant=_no)
        written.encode()
        orjson.dumps(value)  # Half a surrogate pair and numbers beyond 64 bits fit into no database.
    except (ValueError, TypeError, RecursionError):
        raise _JustText from None
    calls = value if isinstance(value, list) else [value]
    if not calls or not all(_is_call(call) for call in calls):
        raise _JustText
    return calls


def _is_call(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= _KEYS
        and isinstance(value.get("name"), str)
        and sum(key in value for key in _ARGUMENTS) == 1
        and isinstance(_arguments_of(value), dict)
    )


def _arguments_of(call: dict[str, Any]) -> Any:
    return call["arguments"] if "arguments" in call else call["parameters"]


def _fits_object(schema: dict[str, Any], value: dict[str, Any]) -> bool:
    properties = schema.get("properties", {})
    if any(name not in value for name in schema.get("required", ())):
        return False
    if schema.get("additionalProperties") is False and set(value) - set(properties):
        return False
    return all(fits(properties[name], inner) for name, inner in value.items() if name in properties)


def _is_a(kind: str, value: Any) -> bool:
    if kind == "null":
        return value is None
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    types: dict[str, type] = {"string": str, "object": dict, "array": list}
    return kind not in types or isinstance(value, types[kind])


def _opening_letters(text: str) -> int:
    """Return how many letters at the end may be the beginning of a fence or a tag."""
    longest = max(map(len, _MARKS)) - 1
    for count in range(min(longest, len(text)), 0, -1):
        if any(mark.startswith(text[-count:]) for mark in _MARKS):
            return count
    return 0


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _no(_: object = None) -> NoReturn:
    raise _JustText
