"""Every tool by name, and the part of them that one role may use."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from engine.core.errors import Invalid, Refusal
from engine.domains.runs import ToolCall, ToolSpec
from engine.tools.context import Outcome, ToolContext, ToolRecord

SECONDS = 30.0
MOST_CHARACTERS = 8_000
EXCERPT = 500
MOST_NESTED = 16

log = logging.getLogger(__name__)

ToolFunction = Callable[..., Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function a model may call, with its arguments as a schema."""

    spec: ToolSpec
    function: ToolFunction
    arguments: type[BaseModel]
    seconds: float
    changes: bool


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool had to say; the text is for the model, whatever the outcome.

    `changed` means that something is other than before; the text then says what, to a person as well.
    """

    text: str
    outcome: Outcome
    changed: bool = False


class ArgumentsTooDeep(Invalid):
    code = "arguments_too_deep"


class Registry:
    """Every tool there is. Filled once at start, shared by all runs."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def add(self, function: ToolFunction, *, seconds: float = SECONDS, changes: bool = False) -> None:
        """Offer `async def name(context, *, described arguments) -> str` under its own name.

        Its docstring and the descriptions of its arguments are what the model reads, so a tool
        without them is a TypeError here and now. `changes`: it does more than look something up.
        """
        name = function.__name__
        if name in self._tools:
            raise TypeError(f"there are two tools named {name}")
        description = inspect.getdoc(function)
        if not description:
            raise TypeError(f"tool {name} has no docstring for the model to read")
        arguments = _arguments(function)
        spec = ToolSpec(name=name, description=description, parameters=_schema(arguments))
        self._tools[name] = Tool(spec, function, arguments, seconds, changes)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._tools)

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def open(self, allowed: Iterable[str], context: ToolContext) -> "Toolbox":
        """Give the allowed tools, ready to be called in one run; an unknown name is a KeyError."""
        return Toolbox(self, tuple(allowed), context)


class Toolbox:
    """The tools of one role in one run. Calling never raises: what went wrong is told to the model."""

    def __init__(self, registry: Registry, allowed: tuple[str, ...], context: ToolContext) -> None:
        self._registry = registry
        self._tools = {name: registry[name] for name in allowed}
        self._context = context
        self.specs: tuple[ToolSpec, ...] = tuple(tool.spec for tool in self._tools.values())

    def bind(
        self,
        allowed: Collection[str],
        *,
        lineage: tuple[str, ...],
        ask_role: Callable[[str, str], Awaitable[str]],
    ) -> "Toolbox":
        """Give another role's tools in the same run."""
        context = replace(self._context, lineage=lineage, ask_role=ask_role)
        return self._registry.open(allowed, context)

    async def call(self, call: ToolCall, step: int) -> ToolResult:
        """Do what the model wished, within the tool's time and size limits, and record it.

        Only cancellation comes out as an exception.
        """
        context = replace(self._context, step=step)
        started = time.monotonic()
        name = _storable_text(call.name)
        arguments: dict[str, Any] = {}
        result = ToolResult("Прервано.", "failed")  # what the record says when the run is cancelled
        try:
            arguments = _storable_arguments(call.arguments)
            result = await self._attempt(name, arguments, context)
        except Refusal as refusal:  # only of the arguments' shape; the tool's own were told by _attempt
            result = ToolResult(refusal.message, "refused")
        finally:
            context.record(
                ToolRecord(
                    role=context.lineage[-1] if context.lineage else "",
                    step=step,
                    call_id=_storable_text(call.id),
                    tool=name[:64],
                    arguments=arguments,
                    outcome=result.outcome,
                    result_excerpt=result.text[:EXCERPT],
                    seconds=time.monotonic() - started,
                )
            )
        return replace(result, text=_cut(result.text))

    async def _attempt(self, name: str, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        tool = self._tools.get(name)
        if tool is None:
            allowed = ", ".join(self._tools) or "никаких"
            return ToolResult(f"Инструмента «{name[:64]}» нет. Есть: {allowed}.", "refused")
        try:
            checked = tool.arguments.model_validate(arguments)
        except ValidationError as error:
            return ToolResult(_explain(name, error), "refused")
        given = {key: getattr(checked, key) for key in type(checked).model_fields}
        try:
            async with asyncio.timeout(tool.seconds):
                text = _storable_text(await tool.function(context, **given))
            return ToolResult(text, "ok", changed=tool.changes)
        except Refusal as refusal:
            return ToolResult(f"{name}: {refusal.message}", "refused")
        except TimeoutError:
            return ToolResult(f"{name} не успел ответить за {tool.seconds:g} с.", "failed")
        except Exception:
            # A bug in a tool must not cost the person the answer; the trace is what we mend it by.
            log.exception("tool %s failed", name)
            return ToolResult(f"{name} не сработал из-за внутренней ошибки. Обойдись без него.", "failed")


def _arguments(function: ToolFunction) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{function.__name__}: {parameter.name} must be keyword-only")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    model: type[BaseModel] = create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    for name, field in model.model_fields.items():
        if not field.description:
            raise TypeError(f"{function.__name__}: argument {name} has no description for the model to read")
    return model


def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    schema = arguments.model_json_schema()
    # Titles repeat the names, and a small model pays for every token it is shown.
    schema.pop("title", None)
    for argument in schema.get("properties", {}).values():
        argument.pop("title", None)
    schema.setdefault("properties", {})
    return schema


def _explain(name: str, error: ValidationError) -> str:
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'аргументы'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False, include_context=False)[:5]
    ]
    return f"Неверные аргументы {name}: {'; '.join(faults)}. Исправь их и вызови снова."


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    note = f"\n… обрезано: всего {len(text)} знаков."
    return text[: MOST_CHARACTERS - len(note)] + note


def _storable_arguments(arguments: object) -> dict[str, Any]:
    if not isinstance(arguments, dict):
        raise Invalid("Аргументы инструмента — это объект JSON.")
    return {_storable_text(str(key)): _storable(value, 1) for key, value in arguments.items()}


def _storable(value: Any, depth: int) -> Any:
    """Make what a model wrote fit for JSON and PostgreSQL: no NUL, no lone surrogates, no towers."""
    if depth > MOST_NESTED:
        raise ArgumentsTooDeep("Аргументы инструмента вложены слишком глубоко.")
    if isinstance(value, str):
        return _storable_text(value)
    if isinstance(value, dict):
        return {_storable_text(str(key)): _storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item, depth + 1) for item in value]
    if isinstance(value, float) and value - value != 0:  # infinities and NaN are not JSON
        return str(value)
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


def _storable_text(text: str) -> str:
    if "\x00" not in text and text.isascii():
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
