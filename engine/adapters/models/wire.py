"""One streaming call of a model server: reach it, keep the limits, repeat what may be repeated.

Every token of every answer passes here, so this file counts microseconds: one timer per call however
many chunks arrive, one generator between the socket and the graph, no object per token.
"""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson

from engine.adapters.models.letters import mended
from engine.adapters.models.loopback import is_loopback
from engine.domains.runs import ModelEnd, ModelGarbled, ModelTimeout, ModelUnavailable, PromptTooLong

_LINE_LIMIT_BYTES = 1_000_000
_RETRY_AFTER_LIMIT_SECONDS = 5.0
_DRAIN_SECONDS = 0.1
_NEVER = float("inf")
# How llama.cpp, vLLM, SGLang and OpenAI's own servers say so; their codes differ more than their words.
_TOO_LONG = re.compile(
    r"context (?:length|size|window)|maximum model length|prompt is too long", re.IGNORECASE
)
# Tokens that come faster than this are read together: to wake up for one costs more than to read it.
# The more answers stream at once, the longer they wait for one another.
_FAST_SECONDS = 0.045
_TOGETHER_SECONDS = 0.03
_TOGETHER_SECONDS_PER_STREAM = 0.0002
_TOGETHER_SECONDS_AT_MOST = 0.1
_OF_THE_REQUEST = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a model may take, and how much it may say."""

    connect_seconds: float = 5
    first_token_seconds: float = 120
    gap_seconds: float = 60
    total_seconds: float = 300
    answer_characters: int = 400_000
    attempts: int = 3


class Answer(Protocol):
    """What one server says, understood chunk by chunk."""

    begun: bool  # the model has said something, if only a thought
    finished: bool  # nothing more will come
    characters: int
    failure: Exception | None  # what is wrong with the rest, once the pieces before it were handed out

    def feed(self, chunk: bytes) -> list[str]:
        """Take what arrived and return the pieces of text in it; never raises."""
        ...

    def end(self) -> ModelEnd:
        """Say how it ended; raise ModelGarbled when it did not."""
        ...

    def cut_short(self) -> ModelEnd:
        """Say how it ended when we stopped listening."""
        ...


class RetryableProblem(Exception):
    """An attempt failed in a way that another attempt may not."""

    def __init__(self, refusal: ModelUnavailable, *, after_seconds: float | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.after_seconds = after_seconds


class Lines:
    """Cuts a stream of chunks into lines; a chunk may end anywhere, within a letter too."""

    __slots__ = ("_held", "_held_bytes")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are complete now, without their line ends (a `\\r` may be left)."""
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        if self._held:
            self._held.append(chunk)
            chunk = b"".join(self._held)
            self._held.clear()
            self._held_bytes = 0
        lines = chunk.split(b"\n")
        if rest := lines.pop():
            self._hold(rest)
        return lines

    def rest(self) -> bytes:
        """Return what came after the last line end."""
        return b"".join(self._held)

    def _hold(self, part: bytes) -> None:
        self._held.append(part)
        self._held_bytes += len(part)
        if self._held_bytes > _LINE_LIMIT_BYTES:
            raise ModelGarbled("The model server sent a line of more than a megabyte.")


@dataclass(slots=True)
class ModelServer:
    """One HTTP server that answers for a model, and the connections to it."""

    url: str
    limits: Limits
    headers: Mapping[str, str] = field(default_factory=dict)
    secret: str | None = None  # never to be repeated in an error
    key_setting: str | None = None  # where a person would correct the key
    streams: int = field(default=0, init=False)  # how many answers are being read
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _proxy: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        self._proxy = _proxy_for(self.url)

    @property
    def place(self) -> str:
        """The address as it may be shown: without a login or a query."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}"

    def session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                # Hundreds of answers stream at once; a limit here would queue them silently.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", **self.headers},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect_seconds),
                read_bufsize=2**16,
            )
        return self._session

    async def post(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        """Return the open answer; raise when it is anything but a success."""
        response = await self.session().post(
            self.url + path,
            data=body,
            headers={"Content-Type": "application/json"},
            proxy=self._proxy,
            allow_redirects=False,  # A redirect would carry the key and the chat to another place.
        )
        if response.status == HTTPStatus.OK:
            return response
        try:
            raw = await response.content.read(8192)
        finally:
            response.close()
        raise self.problem(response.status, raw, response.headers.get("Retry-After"))

    async def get(self, path: str, *, seconds: float) -> tuple[int, Any]:
        """Return status and decoded JSON of a short question; raise ModelUnavailable without an answer."""
        try:
            async with asyncio.timeout(seconds):
                async with self.session().get(
                    self.url + path, proxy=self._proxy, allow_redirects=False
                ) as response:
                    raw = await response.read()
                    return response.status, orjson.loads(raw) if raw else None
        except TimeoutError:
            raise ModelUnavailable(f"{self.place} did not answer within {seconds:g} s.") from None
        except orjson.JSONDecodeError:
            raise ModelUnavailable(f"{self.place} did not answer with JSON: is it a model server?") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ModelUnavailable(f"{self.place} cannot be reached: {self.safe(error)}") from None

    async def close(self) -> None:
        """Close every connection, those of answers under way too."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def safe(self, text: object) -> str:
        """Return a short text without the key in it."""
        shown = mended(" ".join(str(text).split())).replace("\x00", "")
        if self.secret:
            shown = shown.replace(self.secret, "…")
        return shown[:300]

    def problem(
        self, status: int, raw: bytes, retry_after: str | None = None
    ) -> RetryableProblem | ModelUnavailable:
        """Return what an answer other than success means."""
        said, code = _error_of(raw)
        words = f" It said: {self.safe(said)}" if said else ""
        hint = self._hint(status)
        is_too_long = status in _OF_THE_REQUEST and _TOO_LONG.search(said) is not None
        refusal = (PromptTooLong if is_too_long else ModelUnavailable)(
            f"The model server {self.place} refused (HTTP {status}). {hint}{words}".strip(), status=status
        )
        retryable = status in (408, 409, 425, 429) or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if not retryable or code == "insufficient_quota":
            return refusal
        return RetryableProblem(refusal, after_seconds=_seconds(retry_after))

    def late(self, *, begun: bool, waited: float) -> ModelTimeout:
        """Return which limit was hit after so many seconds."""
        if not begun:
            words = f"No word from {self.place} within {waited:.0f} s."
        elif waited >= self.limits.total_seconds - 0.01:
            words = f"{self.place} was still writing after {self.limits.total_seconds:g} s."
        else:
            words = f"{self.place} fell silent for {self.limits.gap_seconds:g} s in the middle."
        return ModelTimeout(words, waited_seconds=round(waited))

    def _hint(self, status: int) -> str:
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return f"Check {self.key_setting}." if self.key_setting else "It wants another login."
        if status == HTTPStatus.NOT_FOUND:
            return "It does not know this model or address."
        if status == HTTPStatus.PAYMENT_REQUIRED:
            return "The account has no credit left."
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return "It is busy."
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return "It redirects elsewhere; set the address it redirects to."
        return ""


async def stream_answer(
    server: ModelServer, path: str, body: bytes, new_answer: Callable[[], Answer]
) -> AsyncGenerator[str | ModelEnd, None]:
    """Yield the pieces of one answer, then its ModelEnd, within the server's limits."""
    limits = server.limits
    started = asyncio.get_running_loop().time()
    spoken = False
    for number in range(1, limits.attempts + 1):
        attempt = _Attempt(server, new_answer(), started)
        answer = attempt.answer
        try:
            await attempt.open(path, body)
            while not answer.finished and (chunk := await attempt.read()):
                for piece in answer.feed(chunk):
                    spoken = True
                    yield piece
                if answer.failure is not None:
                    raise answer.failure
                if answer.characters > limits.answer_characters:
                    yield answer.cut_short()
                    return
            end = answer.end()
            await attempt.drain()
            yield end
            return
        except RetryableProblem as problem:
            pause = pause_before(number, problem.after_seconds)
            if spoken or number == limits.attempts or attempt.seconds_left_for_first_word <= pause:
                raise problem.refusal from None
        finally:
            attempt.close()
        await asyncio.sleep(pause)


class _Attempt:
    """One request and its answer. It closes an answer that is late, with one timer for all the chunks."""

    __slots__ = (
        "_due", "_first_due", "_is_fast", "_late", "_loop", "_read_at", "_response", "_server", "_started",
        "_timer", "answer",
    )  # fmt: skip

    def __init__(self, server: ModelServer, answer: Answer, started: float) -> None:
        self.answer = answer
        self._server = server
        server.streams += 1
        self._started = started
        self._first_due = started + min(server.limits.first_token_seconds, server.limits.total_seconds)
        self._loop = asyncio.get_running_loop()
        self._response: aiohttp.ClientResponse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = _NEVER
        self._late = False
        self._read_at = 0.0
        self._is_fast = False

    @property
    def seconds_left_for_first_word(self) -> float:
        return self._first_due - self._loop.time()

    async def open(self, path: str, body: bytes) -> None:
        """Send the request, and return when the answer begins."""
        try:
            async with asyncio.timeout_at(self._first_due):
                self._response = await self._server.post(path, body)
        except aiohttp.ServerTimeoutError:  # The limit for connecting is aiohttp's to keep.
            seconds = self._server.limits.connect_seconds
            raise RetryableProblem(
                ModelUnavailable(f"{self._server.place} could not be reached within {seconds:g} s.")
            ) from None
        except TimeoutError:
            raise self._too_late() from None
        except (aiohttp.ClientError, OSError) as error:
            words = f"{self._server.place} cannot be reached: {self._server.safe(error)}"
            raise RetryableProblem(ModelUnavailable(words)) from None

    async def read(self) -> bytes:
        """Return what has arrived, or nothing at the end."""
        assert self._response is not None
        heard_at = self._read_at
        if self._is_fast:
            await self._let_gather(self._response)
            heard_at = self._loop.time()
        if self.answer.begun:
            limits = self._server.limits
            due = min(self._loop.time() + limits.gap_seconds, self._started + limits.total_seconds)
        else:
            due = self._first_due
        if self._loop.time() >= due:
            # A model that writes fast always has something ready, and the timer never finds us waiting.
            self._response.close()
            raise self._too_late()
        self._due = due
        if self._timer is None or self._timer.when() > due:
            self._arm(due)
        try:
            chunk = await self._response.content.readany()
            now = self._loop.time()
            self._is_fast = now - heard_at < _FAST_SECONDS
            self._read_at = now
            return chunk
        except (aiohttp.ClientError, OSError) as error:
            if self._late:
                raise self._too_late() from None
            words = f"The connection to {self._server.place} broke in the middle of the answer: "
            raise RetryableProblem(ModelUnavailable(words + self._server.safe(error))) from None
        finally:
            self._due = _NEVER  # Our own reader may take its time; the server is not to blame.

    async def _let_gather(self, response: aiohttp.ClientResponse) -> None:
        """Leave what arrives to the system for a moment: then one read takes all of it."""
        connection = response.connection
        protocol = connection.protocol if connection is not None else None
        if protocol is None:
            return  # All of it is here.
        protocol.pause_reading()
        seconds = _TOGETHER_SECONDS + _TOGETHER_SECONDS_PER_STREAM * self._server.streams
        await asyncio.sleep(min(seconds, _TOGETHER_SECONDS_AT_MOST))
        protocol.resume_reading()

    async def drain(self) -> None:
        """Read what follows the last word, so that the connection can be used again."""
        assert self._response is not None
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await self._response.content.readany():
                    pass
        except (aiohttp.ClientError, OSError):
            return  # The answer is whole; only the connection is lost.

    def close(self) -> None:
        """Hang up, unless the answer was read to its end: a cancelled model must not write on to nobody."""
        self._server.streams -= 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._response is not None and not self._response.content.at_eof():
            self._response.close()

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._loop.time() + 0.001 >= self._due:
            self._late = True
            if self._response is not None:
                self._response.close()  # Wakes the reader with an error.
        elif self._due != _NEVER:
            self._arm(self._due)

    def _too_late(self) -> ModelTimeout:
        return self._server.late(begun=self.answer.begun, waited=self._loop.time() - self._started)


def pause_before(number: int, after_seconds: float | None) -> float:
    """Return how long to wait after so many failed attempts: as the server asks, or longer each time."""
    if after_seconds is not None:
        return min(after_seconds, _RETRY_AFTER_LIMIT_SECONDS)
    # Jitter, lest all the runs that failed together come back together.
    return random.uniform(0.5, 1.0) * 0.4 * float(2 ** (number - 1))


def estimated_tokens(text_bytes: int) -> int:
    """Guess tokens from UTF-8 bytes: four for each in English, and two letters of Russian."""
    return (text_bytes + 3) // 4


def _error_of(raw: bytes) -> tuple[str, str | None]:
    """Find the words and the code in an error of any of the usual shapes."""
    try:
        error = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "", None  # An HTML page of some proxy tells nobody anything.
    if isinstance(error, dict):
        error = error.get("error", error)
    if isinstance(error, dict):
        code = error.get("code")
        return str(error.get("message") or error.get("detail") or ""), code if isinstance(code, str) else None
    return str(error) if isinstance(error, str) else "", None


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None  # The HTTP date form; our own pause will do.


def _proxy_for(url: str) -> str | None:
    """Return the proxy the machine is set to use for this address; the machine itself needs none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
