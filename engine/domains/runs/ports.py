"""What a run needs from the outside world: a language model."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it; `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to use a tool. The arguments are whatever it wrote: validate before use."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One line of the conversation a model is shown."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()  # only of an assistant
    tool_call_id: str | None = None  # only of a tool
    tool_name: str | None = None  # only of a tool


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call of a model."""

    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 1024
    temperature: float = 0.3
    json_schema: dict[str, Any] | None = None  # ask for an answer of this shape, where the server can


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call; `estimated` when the provider did not say."""

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class ModelEnd:
    """How a call ended; always the last thing a stream yields."""

    reason: FinishReason
    usage: TokenUsage
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """Whether a model would answer now, and if not, what a person can do about it."""

    ok: bool
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class ChatModel(Protocol):
    """A language model that answers token by token."""

    provider: str  # "openai", "ollama" or "embedded"
    name: str

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        """Yield pieces of text as they arrive, then exactly one ModelEnd.

        Raises ModelUnavailable when no answer can be had (a retry may help), its kind PromptTooLong when
        the messages do not fit into the model's window (fewer of them may), ModelTimeout when the
        first token or the end did not come in time, ModelGarbled when the answer makes no sense.
        Failed attempts are repeated before the first token only, never after it. Closing the
        iterator stops the model.
        """
        ...

    async def check(self) -> ModelHealth:
        """Say whether the model would answer, without spending tokens; never raises."""
        ...

    async def close(self) -> None:
        """Give connections and memory back."""
        ...
