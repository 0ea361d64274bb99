"""Ollama by its own protocol, which alone lets us say how large the context window shall be."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import orjson

from engine.adapters.models.letters import Letters, a_name, counted, sendable
from engine.adapters.models.openai import read_arguments
from engine.adapters.models.wire import (
    Limits,
    Lines,
    ModelServer,
    RetryableProblem,
    estimated_tokens,
    stream_answer,
)
from engine.domains.runs import (
    FinishReason,
    ModelEnd,
    ModelGarbled,
    ModelHealth,
    ModelMessage,
    ModelRequest,
    ModelUnavailable,
    TokenUsage,
    ToolCall,
)

_CHECK_SECONDS = 3.0
_EMBEDDING_FAMILIES = {"bert", "nomic-bert", "nomic-bert-moe", "xlm-roberta"}


class OllamaModel:
    """A model in an Ollama server."""

    provider = "ollama"

    def __init__(
        self,
        *,
        name: str,
        url: str,
        context_tokens: int,
        limits: Limits | None = None,
        keep_alive: str = "30m",
    ) -> None:
        self.name = name
        self._context_tokens = context_tokens
        self._keep_alive = keep_alive
        self.server = ModelServer(url, limits or Limits())

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        """Yield the answer as it is written; see ChatModel."""
        body = orjson.dumps(self.body(request))
        prompt_bytes = len(body)
        return stream_answer(self.server, "/api/chat", body, lambda: OllamaAnswer(self.server, prompt_bytes))

    async def check(self) -> ModelHealth:
        """Ask which models are there, which loads none."""
        facts = {"provider": self.provider, "model": self.name, "url": self.server.place}
        try:
            names = await _chat_models(self.server, seconds=_CHECK_SECONDS)
        except ModelUnavailable as error:
            return ModelHealth(False, error.message, facts)
        wanted = self.name if ":" in self.name else f"{self.name}:latest"
        if wanted not in names:
            return ModelHealth(False, f"Ollama has no {self.name}. Run: ollama pull {self.name}", facts)
        return ModelHealth(True, f"Ollama at {self.server.place} answers.", facts)

    async def close(self) -> None:
        await self.server.close()

    def body(self, request: ModelRequest) -> dict[str, Any]:
        """Return what is asked of the server."""
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [_message(message) for message in request.messages],
            "stream": True,
            "keep_alive": self._keep_alive,
            "options": {
                # Unsaid, Ollama takes a small window and cuts the oldest messages without a word.
                "num_ctx": self._context_tokens,
                "num_predict": request.max_tokens,
                "temperature": request.temperature,
            },
        }
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in request.tools
            ]
        if request.json_schema is not None:
            body["format"] = request.json_schema
        return body


class OllamaAnswer:
    """Reads one JSON object a line."""

    __slots__ = (
        "_calls", "_letters", "_lines", "_pieces", "_prompt_bytes", "_reason", "_server", "_usage",
        "begun", "characters", "failure", "finished",
    )  # fmt: skip

    def __init__(self, server: ModelServer, prompt_bytes: int) -> None:
        self.begun = False
        self.finished = False
        self.characters = 0
        self.failure: Exception | None = None
        self._server = server
        self._prompt_bytes = prompt_bytes
        self._pieces = 0
        self._lines = Lines()
        self._letters = Letters()
        self._calls: list[ToolCall] = []
        self._reason: FinishReason = "stop"
        self._usage: TokenUsage | None = None

    def feed(self, chunk: bytes) -> list[str]:
        """Take what arrived and return the pieces of text in it; never raises."""
        pieces: list[str] = []
        try:
            self._take_lines(chunk, pieces)
        except (ModelGarbled, RetryableProblem) as failure:
            self.failure = failure  # Told after the words that came before it, in the same chunk maybe.
        self._pieces += len(pieces)
        return self._letters.clean(pieces)

    def end(self) -> ModelEnd:
        """Say how it ended; raise ModelGarbled when it did not."""
        if not self.finished and (last := self._lines.rest()):
            self._take(last, [])  # The last line may come without its line end.
        if not self.finished:
            raise ModelGarbled("Ollama stopped in the middle of the answer.")
        return ModelEnd(
            "tool_calls" if self._calls else self._reason, self._usage or self._estimate(), tuple(self._calls)
        )

    def cut_short(self) -> ModelEnd:
        """Say how it ended when we stopped listening."""
        return ModelEnd("length", self._estimate())

    def _take_lines(self, chunk: bytes, pieces: list[str]) -> None:
        for line in self._lines.feed(chunk):
            if line and line != b"\r":
                self._take(line, pieces)

    def _take(self, line: bytes, pieces: list[str]) -> None:
        try:
            event = self._letters.loads(line)
        except ValueError:
            raise ModelGarbled("Ollama sent a line that is not JSON.") from None
        if not isinstance(event, dict):
            raise ModelGarbled("Ollama sent a line that is not an object.")
        if "error" in event:  # Under HTTP 200: the answer had begun when it failed.
            words = self._server.safe(event["error"])
            raise RetryableProblem(ModelUnavailable(f"Ollama at {self._server.place} failed: {words}"))
        message = event.get("message")
        if isinstance(message, dict):
            content = message.get("content")
            if content and isinstance(content, str):
                pieces.append(content)
                self.characters += len(content)
                self.begun = True
            elif content:
                raise ModelGarbled("Ollama sent text that is not text.")
            if len(message) > 2:  # More than role and content.
                self._take_more(message)
        if event.get("done"):
            self._take_ending(event)

    def _take_more(self, message: dict[str, Any]) -> None:
        if message.get("thinking"):
            self.begun = True  # A sign of life, and not part of the answer.
        for call in message.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                raise ModelGarbled("Ollama sent a tool call without a function.")
            arguments = function.get("arguments") or {}
            self._calls.append(
                ToolCall(
                    id=a_name(call.get("id")) or f"call_{uuid4().hex[:12]}",
                    name=a_name(function.get("name")),
                    arguments=sendable(arguments)
                    if isinstance(arguments, dict)
                    else read_arguments(str(arguments)),
                )
            )
            self.begun = True

    def _take_ending(self, event: dict[str, Any]) -> None:
        self.finished = True
        self._reason = "length" if event.get("done_reason") == "length" else "stop"
        asked, written = counted(event.get("prompt_eval_count")), counted(event.get("eval_count"))
        if asked is not None and written is not None:
            self._usage = TokenUsage(asked, written)

    def _estimate(self) -> TokenUsage:
        output = max(self._pieces, self.characters // 4)
        return TokenUsage(estimated_tokens(self._prompt_bytes), output, estimated=True)


async def chat_models(url: str, *, seconds: float) -> list[str]:
    """Return an Ollama server's chat models, newest first; raise ModelUnavailable when none answers."""
    server = ModelServer(url, Limits(connect_seconds=seconds))
    try:
        return await _chat_models(server, seconds=seconds)
    finally:
        await server.close()


async def _chat_models(server: ModelServer, *, seconds: float) -> list[str]:
    status, listed = await server.get("/api/tags", seconds=seconds)
    models = listed.get("models") if isinstance(listed, dict) else None
    if status != HTTPStatus.OK or not isinstance(models, list):
        raise ModelUnavailable(f"{server.place} does not answer like Ollama (HTTP {status}).", status=status)
    return [str(model["name"]) for model in models if isinstance(model, dict) and _is_for_chat(model)]


def _is_for_chat(model: dict[str, Any]) -> bool:
    name, details = model.get("name"), model.get("details")
    family = details.get("family") if isinstance(details, dict) else None
    return isinstance(name, str) and family not in _EMBEDDING_FAMILIES and "embed" not in name


def _message(message: ModelMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_name": message.tool_name or "", "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    return {
        "role": message.role,
        "content": message.content,
        "tool_calls": [
            {"function": {"name": call.name, "arguments": sendable(call.arguments)}}
            for call in message.tool_calls
        ],
    }
