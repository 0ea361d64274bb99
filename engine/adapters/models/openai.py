"""Any server that speaks OpenAI's chat completions: OpenAI, vLLM, OpenRouter, llama.cpp and the rest."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import orjson

from engine.adapters.models.letters import Letters, a_name, counted, mended, sendable
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
_FIELDS = (b":", b"event:", b"id:", b"retry:")
_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}

UNREADABLE = "_unreadable"
"""Stands for the arguments of a call whose JSON was broken, so that validation refuses it in words."""


class OpenAIModel:
    """A model behind an OpenAI-compatible address; `tools` names those that it is told of, all when None."""

    provider = "openai"

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None = None,
        limits: Limits | None = None,
        key_setting: str | None = "RUGPT_OPENAI_API_KEY",
        tools: Collection[str] | None = None,
    ) -> None:
        self.name = name
        self._tools = tools
        self.server = ModelServer(
            base_url,
            limits or Limits(),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            secret=api_key,
            key_setting=key_setting,
        )

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        """Yield the answer as it is written; see ChatModel."""
        body = orjson.dumps(self.body(request))
        prompt_bytes = len(body)
        return stream_answer(
            self.server, "/chat/completions", body, lambda: OpenAIAnswer(self.server, prompt_bytes)
        )

    async def check(self) -> ModelHealth:
        """Ask for the list of models, which costs nothing."""
        facts = {"provider": self.provider, "model": self.name, "url": self.server.place}
        try:
            status, listed = await self.server.get("/models", seconds=_CHECK_SECONDS)
        except ModelUnavailable as error:
            return ModelHealth(False, error.message, facts)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            hint = f" Check {self.server.key_setting}." if self.server.key_setting else ""
            return ModelHealth(False, f"{self.server.place} refused the key (HTTP {status}).{hint}", facts)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ModelHealth(False, f"{self.server.place} is in trouble (HTTP {status}).", facts)
        names = _listed_names(listed) if status == HTTPStatus.OK else []
        if names and self.name not in names:
            some = ", ".join(names[:5])
            return ModelHealth(False, f"{self.server.place} has no model {self.name}; it has {some}.", facts)
        return ModelHealth(True, f"{self.server.place} answers.", facts)

    async def close(self) -> None:
        await self.server.close()

    def body(self, request: ModelRequest) -> dict[str, Any]:
        """Return what is asked of the server."""
        # OpenAI's own newer models refuse the old name of the limit; everybody else knows only that one.
        limit = "max_completion_tokens" if "api.openai.com" in self.server.place else "max_tokens"
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [_message(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            limit: request.max_tokens,
        }
        tools = [tool for tool in request.tools if self._tools is None or tool.name in self._tools]
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
                for tool in tools
            ]
        if request.json_schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.json_schema},
            }
        return body


@dataclass(slots=True)
class _CallInParts:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class OpenAIAnswer:
    """Reads server-sent events of chat completion chunks."""

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
        self._calls: dict[int, _CallInParts] = {}
        self._reason: str | None = None
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
        if not self.finished and self._reason is None:
            raise ModelGarbled("The model server stopped in the middle of the answer.")
        calls = tuple(self._whole(call) for _, call in sorted(self._calls.items()))
        reason = "tool_calls" if calls else _REASONS.get(self._reason or "stop", "stop")
        if reason == "tool_calls" and not calls:
            reason = "stop"
        return ModelEnd(reason, self._usage or self._estimate(), calls)

    def cut_short(self) -> ModelEnd:
        """Say how it ended when we stopped listening."""
        return ModelEnd("length", self._usage or self._estimate())

    def _take_lines(self, chunk: bytes, pieces: list[str]) -> None:
        for line in self._lines.feed(chunk):
            if not line.startswith(b"data:"):
                if line and line != b"\r" and not line.startswith(_FIELDS):
                    raise ModelGarbled("The model server sent something that is not an event stream.")
                continue
            try:
                event = self._letters.loads(line[5:])
            except ValueError:
                if line[5:].strip() == b"[DONE]":
                    self.finished = True
                    break
                raise ModelGarbled("The model server sent an event that is not JSON.") from None
            try:
                choice = event["choices"][0]
                delta = choice["delta"]
                content = delta["content"]
            except (KeyError, IndexError, TypeError):
                self._take_rare(event, pieces)
                continue
            # The common event, by the shortest way: text and nothing else.
            if (
                type(content) is str
                and content
                and (len(delta) == 1 or (len(delta) == 2 and "role" in delta))
            ):
                pieces.append(content)
                self.begun = True
                self.characters += len(content)
                if choice.get("finish_reason") or event.get("usage"):
                    self._take_ending(event, choice)
            else:
                self._take_rare(event, pieces)

    def _take_rare(self, event: Any, pieces: list[str]) -> None:
        """Take an event that is not simply the next piece of text."""
        if not isinstance(event, dict):
            raise ModelGarbled("The model server sent an event that is not an object.")
        if event.get("error"):
            raise self._error(event["error"])
        choices = event.get("choices")
        if choices is not None and not isinstance(choices, list):
            raise ModelGarbled("The model server sent choices that are not a list.")
        choice = choices[0] if choices else {}
        if not isinstance(choice, dict):
            raise ModelGarbled("The model server sent a choice that is not an object.")
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._take_delta(delta, pieces)
        self._take_ending(event, choice)

    def _take_delta(self, delta: dict[str, Any], pieces: list[str]) -> None:
        content = delta.get("content")
        if content and isinstance(content, str):
            pieces.append(content)
            self.begun = True
            self.characters += len(content)
        elif content:
            raise ModelGarbled("The model server sent text that is not text.")
        if delta.get("reasoning_content") or delta.get("reasoning"):
            self.begun = True  # It thinks; that is a sign of life, and not part of the answer.
        for fragment in delta.get("tool_calls") or ():
            self._take_call(fragment)

    def _take_call(self, fragment: Any) -> None:
        if not isinstance(fragment, dict):
            raise ModelGarbled("The model server sent a tool call that is not an object.")
        function = fragment.get("function") or {}
        if not isinstance(function, dict):
            raise ModelGarbled("The model server sent a tool call without a function.")
        index = fragment.get("index")
        if not isinstance(index, int):
            # Some servers leave the index out: whoever has a name begins a new call.
            index = len(self._calls) if function.get("name") else max(len(self._calls) - 1, 0)
        call = self._calls.setdefault(index, _CallInParts())
        call.id = call.id or a_name(fragment.get("id"))
        call.name = call.name or a_name(function.get("name"))
        if arguments := function.get("arguments"):
            written = arguments if isinstance(arguments, str) else orjson.dumps(sendable(arguments)).decode()
            call.arguments.append(written)
            self.characters += len(written)
        self.begun = True

    def _take_ending(self, event: dict[str, Any], choice: dict[str, Any]) -> None:
        if reason := choice.get("finish_reason"):
            if reason == "error":
                raise self._error("it ended with an error")
            self._reason = str(reason)
        usage = event.get("usage")
        if isinstance(usage, dict):
            asked, written = counted(usage.get("prompt_tokens")), counted(usage.get("completion_tokens"))
            self._usage = TokenUsage(asked or 0, written or 0)

    def _error(self, error: Any) -> RetryableProblem:
        said = error.get("message", error) if isinstance(error, dict) else error
        words = self._server.safe(said)
        return RetryableProblem(ModelUnavailable(f"The model server {self._server.place} failed: {words}"))

    def _estimate(self) -> TokenUsage:
        # Most servers send a piece per token; those that bundle them are caught by the length.
        output = max(self._pieces, self.characters // 4)
        return TokenUsage(estimated_tokens(self._prompt_bytes), output, estimated=True)

    def _whole(self, call: _CallInParts) -> ToolCall:
        return ToolCall(
            id=call.id or f"call_{uuid4().hex[:12]}",
            name=call.name,
            arguments=read_arguments("".join(call.arguments)),
        )


def read_arguments(written: str) -> dict[str, Any]:
    """Return the arguments a model wrote as JSON; `{UNREADABLE: …}` when it is not a JSON object."""
    if not written.strip():
        return {}
    try:
        arguments = orjson.loads(mended(written))
    except orjson.JSONDecodeError:
        arguments = None
    return sendable(arguments) if isinstance(arguments, dict) else {UNREADABLE: mended(written[:1000])}


def _message(message: ModelMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id or "", "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    return {
        "role": message.role,
        "content": message.content or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": orjson.dumps(sendable(call.arguments)).decode(),
                },
            }
            for call in message.tool_calls
        ],
    }


def _listed_names(listed: Any) -> list[str]:
    models = listed.get("data") if isinstance(listed, dict) else None
    return [str(model["id"]) for model in models or () if isinstance(model, dict) and "id" in model]
