"""A model server of our own that speaks OpenAI's and Ollama's protocols, and misbehaves on request.

It was written from the protocols, not from our clients, and it refuses whatever they do not allow.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

MODEL = "test-model:7b"
KEY = "sk-very-secret-key-1234567890"

Ending = Literal["whole", "dropped", "unfinished", "error", "silent", "endless"]


@dataclass
class Script:
    """What the next answers are like."""

    pieces: tuple[str, ...] = ("Здрав", "ствуйте", ", ", "Анна 🌍", "!\n", "Договор — «расторжим».")
    first_token_seconds: float = 0.0
    gap_seconds: float = 0.0
    reason: str = "stop"
    usage: bool = True
    asked_tokens: Any = 11
    written_tokens: Any = 7
    tool_calls: tuple[tuple[str, str], ...] = ()  # name, arguments as JSON text
    ending: Ending = "whole"
    refusals: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)  # one for each request
    raw: bytes | None = None  # sent instead of an answer
    raw_type: str = "text/html"
    chop: int | None = None  # how many bytes are sent at a time
    line_end: str = "\n"
    comments: bool = False
    thoughts: int = 0
    escape: bool = False  # all but ASCII as JSON escapes


class BadRequest(Exception):
    """The request breaks the protocol."""


class FakeModels:
    """The server; `script` may be changed between requests."""

    def __init__(self) -> None:
        self.script = Script()
        self.requests: list[dict[str, Any]] = []
        self.url = ""
        self.all_sent = asyncio.Event()
        self.dropped_by_client = asyncio.Event()
        self.key: str | None = KEY
        self.model = MODEL

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._openai)
        app.router.add_get("/v1/models", self._openai_models)
        app.router.add_post("/api/chat", self._ollama)
        app.router.add_get("/api/tags", self._ollama_tags)
        return app

    async def _openai_models(self, request: web.Request) -> web.StreamResponse:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "bad key"}}, status=401)
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    async def _ollama_tags(self, request: web.Request) -> web.StreamResponse:
        models = [
            {"name": "nomic-embed-text:latest", "details": {"family": "nomic-bert"}},
            {"name": self.model, "details": {"family": "qwen2"}},
        ]
        return web.json_response({"models": models})

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response(
                {"error": {"message": f"Incorrect API key: {KEY}", "code": "invalid_api_key"}}, status=401
            )
        return await self._serve(
            request, OpenAIWords(self.script), lambda words: {"error": {"message": words}}
        )

    async def _ollama(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, OllamaWords(self.script), lambda words: {"error": words})

    async def _serve(self, request: web.Request, words: Any, error: Any) -> web.StreamResponse:
        script = self.script
        body = json.loads(await request.read())
        self.requests.append(body)
        if script.refusals:
            status, text, headers = script.refusals.pop(0)
            return web.json_response(error(text), status=status, headers=headers)
        try:
            words.check(body)
        except BadRequest as problem:
            return web.json_response(error(str(problem)), status=400)
        if body["model"] != self.model:
            return web.json_response(error(f"model {body['model']} not found"), status=404)
        response = web.StreamResponse(
            headers={"Content-Type": script.raw_type if script.raw else words.media}
        )
        await response.prepare(request)
        try:
            await self._write(request, response, words)
        except ConnectionError:
            self.dropped_by_client.set()
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, words: Any) -> None:
        script = self.script
        if script.raw is not None:
            await response.write(script.raw)
            return
        await self._wait(request, script.first_token_seconds)
        for number, text in enumerate(words.opening()):
            await self._send(request, response, text, wait=script.gap_seconds if number else 0)
        self.all_sent.set()
        while script.ending == "endless":
            await self._send(request, response, words.piece("слово " * 50), wait=script.gap_seconds)
        if script.ending == "dropped":
            assert request.transport is not None
            request.transport.abort()
        elif script.ending == "error":
            await self._send(request, response, words.error("out of memory"))
        elif script.ending == "silent":
            await self._wait(request, 30)
        elif script.ending == "whole":
            for text in words.closing():
                await self._send(request, response, text)

    async def _send(
        self, request: web.Request, response: web.StreamResponse, text: str, *, wait: float = 0
    ) -> None:
        await self._wait(request, wait)
        data = text.replace("\n", self.script.line_end).encode()
        size = self.script.chop or len(data)
        for start in range(0, len(data), size):
            await response.write(data[start : start + size])
            if self.script.chop:
                await asyncio.sleep(0)

    async def _wait(self, request: web.Request, seconds: float) -> None:
        """Wait, and notice at once when the client is gone."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
            left = until - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.01))


class OpenAIWords:
    """Chat completion chunks as server-sent events."""

    media = "text/event-stream"

    def __init__(self, script: Script) -> None:
        self._script = script

    def check(self, body: dict[str, Any]) -> None:
        known = {
            "model", "messages", "stream", "stream_options", "temperature", "max_tokens",
            "max_completion_tokens", "tools", "response_format", "n", "top_p", "seed",
        }  # fmt: skip
        _need(not set(body) - known, f"unknown fields {set(body) - known}")
        _need(body.get("stream") is True, "this server only streams")
        _need(body.get("stream_options") == {"include_usage": True}, "usage must be asked for")
        _need(isinstance(body.get("temperature", 1.0), (int, float)), "temperature")
        _need(isinstance(body.get("max_tokens", body.get("max_completion_tokens")), int), "max_tokens")
        _check_tools(body.get("tools", []))
        open_calls: set[str] = set()
        for message in _messages(body):
            if message["role"] == "tool":
                _need(message.get("tool_call_id") in open_calls, "a tool result answers no call")
                _need(isinstance(message.get("content"), str), "a tool result has text")
                continue
            for call in message.get("tool_calls", []):
                _need(set(call) == {"id", "type", "function"} and call["type"] == "function", "tool call")
                _need(isinstance(call["function"].get("arguments"), str), "arguments are JSON text")
                _need(isinstance(json.loads(call["function"]["arguments"]), dict), "arguments are an object")
                open_calls.add(call["id"])
            _need(
                isinstance(message.get("content"), str) or bool(message.get("tool_calls")),
                "a message has text",
            )
        if "response_format" in body:
            schema = body["response_format"]["json_schema"]
            _need(isinstance(schema.get("name"), str) and isinstance(schema.get("schema"), dict), "schema")

    def piece(self, text: str) -> str:
        return self._event({"delta": {"content": text}, "finish_reason": None})

    def opening(self) -> Iterator[str]:
        yield self._event({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})
        if self._script.comments:
            yield ": OPENROUTER PROCESSING\n\n"
        for _ in range(self._script.thoughts):
            yield self._event({"delta": {"reasoning_content": "hm"}, "finish_reason": None})
        for text in self._script.pieces:
            yield self.piece(text)
        for index, (name, arguments) in enumerate(self._script.tool_calls):
            function: dict[str, str] = {"name": name, "arguments": ""}
            call: dict[str, Any] = {"index": index, "id": f"call_{index}", "type": "function"}
            yield self._event({"delta": {"tool_calls": [{**call, "function": function}]}})
            for start in range(0, len(arguments), 5):
                fragment = {"index": index, "function": {"arguments": arguments[start : start + 5]}}
                yield self._event({"delta": {"tool_calls": [fragment]}, "finish_reason": None})

    def closing(self) -> Iterator[str]:
        reason = "tool_calls" if self._script.tool_calls else self._script.reason
        yield self._event({"delta": {}, "finish_reason": reason})
        if self._script.usage:
            asked, written = self._script.asked_tokens, self._script.written_tokens
            usage = {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
            yield self._line({"choices": [], "usage": usage})
        yield "data: [DONE]\n\n"

    def error(self, words: str) -> str:
        return f"data: {json.dumps({'error': {'message': words, 'code': 502}})}\n\n"

    def _event(self, choice: dict[str, Any]) -> str:
        return self._line({"choices": [{"index": 0, **choice}], "usage": None})

    def _line(self, event: dict[str, Any]) -> str:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
        return f"data: {json.dumps({**head, **event}, ensure_ascii=self._script.escape)}\n\n"


class OllamaWords:
    """One JSON object a line."""

    media = "application/x-ndjson"

    def __init__(self, script: Script) -> None:
        self._script = script

    def check(self, body: dict[str, Any]) -> None:
        known = {
            "model", "messages", "tools", "stream", "format", "options", "keep_alive", "think",
            "logprobs", "top_logprobs",
        }  # fmt: skip
        _need(not set(body) - known, f"unknown fields {set(body) - known}")
        _need(body.get("stream", True) is True, "this server only streams")
        options = body.get("options", {})
        _need(isinstance(options.get("num_ctx"), int), "num_ctx must be said, or prompts are cut silently")
        _need(isinstance(options.get("num_predict"), int), "num_predict")
        _need(isinstance(options.get("temperature", 0.5), (int, float)), "temperature")
        _check_tools(body.get("tools") or [])
        calls = 0
        for message in _messages(body):
            _need(isinstance(message.get("content", ""), str), "content is text")
            for call in message.get("tool_calls") or []:
                _need(isinstance(call["function"]["arguments"], dict), "arguments are an object")
                calls += 1
            if message["role"] == "tool":
                _need(calls > 0, "a tool result answers no call")

    def piece(self, text: str) -> str:
        return self._line({"message": {"role": "assistant", "content": text}, "done": False})

    def opening(self) -> Iterator[str]:
        for _ in range(self._script.thoughts):
            thought = {"role": "assistant", "content": "", "thinking": "hm"}
            yield self._line({"message": thought, "done": False})
        for text in self._script.pieces:
            yield self.piece(text)
        for name, arguments in self._script.tool_calls:
            call = {"function": {"name": name, "arguments": json.loads(arguments)}}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
            yield self._line({"message": message, "done": False})

    def closing(self) -> Iterator[str]:
        end: dict[str, Any] = {"message": {"role": "assistant", "content": ""}, "done": True}
        end |= {"done_reason": self._script.reason, "total_duration": 5, "load_duration": 1}
        if self._script.usage:
            end |= {"prompt_eval_count": self._script.asked_tokens, "eval_count": self._script.written_tokens}
        yield self._line(end)

    def error(self, words: str) -> str:
        return json.dumps({"error": words}) + "\n"

    def _line(self, event: dict[str, Any]) -> str:
        head = {"model": MODEL, "created_at": "2026-11-21T09:00:00.000000Z"}
        return json.dumps({**head, **event}, ensure_ascii=self._script.escape) + "\n"


@asynccontextmanager
async def serving(fake: FakeModels) -> AsyncIterator[FakeModels]:
    """Serve on a free port of the loopback while the block runs."""
    runner = web.AppRunner(fake.application(), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield fake
    finally:
        await runner.cleanup()


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    _need(isinstance(messages, list) and bool(messages), "messages")
    assert isinstance(messages, list)
    for message in messages:
        _need(message.get("role") in ("system", "user", "assistant", "tool"), "role")
    return messages


def _check_tools(tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        _need(tool.get("type") == "function", "tool type")
        function = tool["function"]
        _need(isinstance(function.get("name"), str), "tool name")
        _need(function.get("parameters", {}).get("type") == "object", "tool parameters")


def _need(true: bool, words: str) -> None:
    if not true:
        raise BadRequest(words)
