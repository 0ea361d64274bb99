"""LangChain's own clients behind the same port: the reference our thin ones are tested against.

Chosen by RUGPT_MODEL_CLIENT=langchain. Some ten times the processor time for a token, so not the default.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import ollama
import openai
import orjson
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from engine.adapters.models.letters import Letters, a_name, counted, sendable
from engine.adapters.models.loopback import is_loopback
from engine.adapters.models.ollama import OllamaModel
from engine.adapters.models.openai import OpenAIModel, read_arguments
from engine.adapters.models.wire import Limits, RetryableProblem, estimated_tokens, pause_before
from engine.domains.runs import (
    ModelEnd,
    ModelGarbled,
    ModelHealth,
    ModelMessage,
    ModelRequest,
    ModelUnavailable,
    TokenUsage,
    ToolCall,
)

_SAID_ELSEWHERE = ("model", "messages", "stream", "stream_options")


class LangChainModel:
    """A LangChain chat model that keeps the promises of ChatModel.

    The native model beside it lends what has nothing to do with streaming: the wording of a request's
    options, the health check and the words for errors.
    """

    def __init__(
        self,
        native: OpenAIModel | OllamaModel,
        chat: BaseChatModel,
        hang_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.provider = native.provider
        self.name = native.name
        self._native = native
        self._chat = chat
        self._hang_up = hang_up

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        """Yield the answer as it is written; see ChatModel."""
        return self._stream(request)

    async def check(self) -> ModelHealth:
        """Ask the server as the native client does."""
        return await self._native.check()

    async def close(self) -> None:
        await self._native.close()
        if self._hang_up is not None:
            await self._hang_up()

    async def _stream(self, request: ModelRequest) -> AsyncGenerator[str | ModelEnd, None]:
        server, limits = self._native.server, self._native.server.limits
        loop = asyncio.get_running_loop()
        started = loop.time()
        first_due = started + min(limits.first_token_seconds, limits.total_seconds)
        total_due = started + limits.total_seconds
        options = {k: v for k, v in self._native.body(request).items() if k not in _SAID_ELSEWHERE}
        messages = [_message(message) for message in request.messages]
        attempt = 0
        while True:
            attempt += 1
            rest: AIMessageChunk | None = None  # all but the text: joining that again and again is quadratic
            characters = pieces = 0
            begun = False
            letters = Letters(cut=True)
            chunks = self._chat.astream(messages, **options)
            try:
                async with aclosing(chunks):  # type: ignore[type-var]  # It is a generator; the base class says less.
                    while True:
                        due = min(loop.time() + limits.gap_seconds, total_due) if begun else first_due
                        async with asyncio.timeout_at(due):
                            chunk = await anext(chunks, None)
                        if chunk is None:
                            break
                        piece = "".join(letters.clean([chunk.text]))
                        if chunk.tool_call_chunks or chunk.usage_metadata or _reason(chunk):
                            rest = chunk if rest is None else rest + chunk
                        begun = begun or bool(piece or chunk.tool_call_chunks)
                        if piece:
                            characters += len(piece)
                            pieces += 1
                            yield piece
                        if characters > limits.answer_characters:
                            yield ModelEnd("length", _usage(rest, request, pieces))
                            return
                yield _end(rest, request, pieces)
                return
            except TimeoutError:
                raise server.late(begun=begun, waited=loop.time() - started) from None
            except (ModelUnavailable, ModelGarbled):
                raise
            except Exception as error:  # noqa: BLE001 (each client has its own family of errors; see _failure)
                failure = self._failure(error, begun=begun)
            pause = pause_before(attempt, failure.after_seconds)
            if pieces or attempt >= limits.attempts or loop.time() + pause >= first_due:
                raise failure.refusal
            await asyncio.sleep(pause)

    def _failure(self, error: Exception, *, begun: bool) -> RetryableProblem:
        """Return a failure that may be tried again; raise any other as what it means."""
        server = self._native.server
        problem: RetryableProblem | ModelUnavailable
        if isinstance(error, openai.APIStatusError):
            problem = server.problem(
                error.status_code, error.response.content, error.response.headers.get("Retry-After")
            )
        elif isinstance(error, ollama.ResponseError) and error.status_code > 0:
            problem = server.problem(error.status_code, orjson.dumps({"error": str(error.error)}))
        elif isinstance(
            error, (ConnectionError, openai.APIConnectionError, httpx.HTTPError)
        ) or _is_http_error(error):
            words = "broke in the middle of the answer" if begun else "cannot be reached"
            problem = RetryableProblem(ModelUnavailable(f"{server.place} {words}: {server.safe(error)}"))
        elif isinstance(error, (openai.APIError, ollama.ResponseError)):
            problem = RetryableProblem(
                ModelUnavailable(f"The model server {server.place} failed: {server.safe(error)}")
            )
        elif isinstance(error, (ValueError, TypeError, KeyError, AttributeError)):
            # What the clients raise when they trip over an answer of another shape.
            raise ModelGarbled(f"{server.place} sent what makes no sense: {server.safe(error)}") from None
        else:
            raise error
        if isinstance(problem, RetryableProblem):
            return problem
        raise problem from None


def langchain_openai(
    *, name: str, base_url: str, api_key: str | None = None, limits: Limits | None = None
) -> LangChainModel:
    """Return a model behind an OpenAI-compatible address, read by ChatOpenAI."""
    limits = limits or Limits()
    native = OpenAIModel(name=name, base_url=base_url, api_key=api_key, limits=limits)
    http = openai.DefaultAsyncHttpxClient(
        trust_env=not _is_local(base_url), timeout=openai.Timeout(None, connect=limits.connect_seconds)
    )
    chat = ChatOpenAI(
        model=name,
        base_url=base_url,
        api_key=SecretStr(api_key or "none"),
        stream_usage=True,  # Off by default for any address but OpenAI's, and then nothing is accounted.
        max_retries=0,  # Ours, so that both clients repeat alike.
        stream_chunk_timeout=None,
        http_async_client=http,
    )
    return LangChainModel(native, chat, http.aclose)


def langchain_ollama(
    *, name: str, url: str, context_tokens: int, limits: Limits | None = None
) -> LangChainModel:
    """Return a model in an Ollama server, read by ChatOllama."""
    limits = limits or Limits()
    native = OllamaModel(name=name, url=url, context_tokens=context_tokens, limits=limits)
    chat = ChatOllama(
        model=name,
        base_url=url,
        client_kwargs={
            "trust_env": not _is_local(url),
            "timeout": httpx.Timeout(None, connect=limits.connect_seconds),
        },
    )
    return LangChainModel(native, chat, chat._async_client.close)  # ChatOllama cannot be closed itself.


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _is_http_error(error: Exception) -> bool:
    """Know the errors of the HTTP libraries that the clients bring along and that we do not name."""
    return type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")


def _reason(chunk: AIMessageChunk) -> str | None:
    said = chunk.response_metadata
    reason = said.get("finish_reason") or said.get("done_reason") or (said.get("done") and "stop")
    return str(reason) if reason else None


def _end(rest: AIMessageChunk | None, request: ModelRequest, pieces: int) -> ModelEnd:
    reason = _reason(rest) if rest is not None else None
    if rest is None or reason is None:
        raise ModelGarbled("The model server stopped in the middle of the answer.")
    calls = tuple(
        ToolCall(
            id=a_name(fragment.get("id")) or f"call_{uuid4().hex[:12]}",
            name=a_name(fragment.get("name")),
            arguments=read_arguments(str(fragment.get("args") or "")),
        )
        for fragment in rest.tool_call_chunks
    )
    if calls:
        return ModelEnd("tool_calls", _usage(rest, request, pieces), calls)
    return ModelEnd("length" if reason == "length" else "stop", _usage(rest, request, pieces))


def _usage(rest: AIMessageChunk | None, request: ModelRequest, pieces: int) -> TokenUsage:
    said = rest.usage_metadata if rest is not None else None
    if said is None:
        asked = sum(len(message.content.encode()) for message in request.messages)
        return TokenUsage(estimated_tokens(asked), pieces, estimated=True)
    return TokenUsage(counted(said["input_tokens"]) or 0, counted(said["output_tokens"]) or 0)


def _message(message: ModelMessage) -> BaseMessage:
    if message.role == "system":
        return SystemMessage(message.content)
    if message.role == "user":
        return HumanMessage(message.content)
    if message.role == "tool":
        return ToolMessage(
            message.content, tool_call_id=message.tool_call_id or "", name=message.tool_name or ""
        )
    return AIMessage(message.content, tool_calls=_calls(message.tool_calls))


def _calls(calls: Sequence[ToolCall]) -> list[Any]:
    return [{"id": call.id, "name": call.name, "args": sendable(call.arguments)} for call in calls]
