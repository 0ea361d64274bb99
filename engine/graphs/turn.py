"""One call of the model: its words go out as they come, its wishes for tools come back."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from engine.core.logging import log
from engine.domains.runs import (
    ModelEnd,
    ModelGarbled,
    ModelMessage,
    ModelRequest,
    PromptTooLong,
    TokenUsage,
    ToolCall,
    ToolSpec,
)
from engine.graphs.context import ModelUse, RunContext
from engine.graphs.limits import LimitReached
from engine.graphs.text_calls import HeldText, find_text_calls

# A model that does not heed max_tokens is stopped a little above it: servers count differently.
_PIECES_OVER = 32
_CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of one call; `text` leaves out what was a tool call. `cut` means it had more to say."""

    step: int
    text: str
    calls: tuple[ToolCall, ...] = ()
    cut: LimitReached | None = None


async def take_turn(
    context: RunContext,
    messages: tuple[ModelMessage, ...],
    *,
    tools: tuple[ToolSpec, ...] = (),
    most_tokens: int | None = None,
    json_schema: dict[str, Any] | None = None,
    temperature: float | None = None,
) -> Turn:
    """Call the model once, within what is left of the run, and utter what it says.

    Text that turns out to be a tool call is not uttered. Where the messages do not fit into the model's
    window, the oldest of what was said before the question are left out. Raises LimitReached when there
    is nothing left to call with, ModelGarbled when the stream does not end as it should, and what the
    model raises.
    """
    step = context.budget.take_step()
    bounds = (context.budget.tokens_left, most_tokens, context.call_tokens)
    request = ModelRequest(
        messages=messages,
        tools=tools,
        max_tokens=min(bound for bound in bounds if bound is not None),
        temperature=context.role.temperature if temperature is None else temperature,
        json_schema=json_schema,
    )
    ear = _Ear(context, request)
    started = time.perf_counter()
    try:
        while True:
            try:
                await _listen(context.model.stream(request), ear)
                break
            except PromptTooLong:
                shorter = _shortened(request.messages)
                if shorter is None or ear.pieces:
                    raise
            log.info("prompt_shortened", messages=len(request.messages), left=len(shorter))
            request = replace(request, messages=shorter)
            ear = _Ear(context, request)
    finally:
        # Also when the model fails or the run is cancelled: those tokens were used up all the same.
        if ear.pieces or ear.end:
            usage = ear.usage()
            context.budget.spend(usage.output_tokens)
            context.record_use(_model_use(context, step, usage, started, ear.first_at))
    return _turn(context, step, ear)


def _shortened(messages: tuple[ModelMessage, ...]) -> tuple[ModelMessage, ...] | None:
    """Leave out the older half of what was said before the last question; None when nothing was.

    How many tokens a text has only its model knows: we count characters, and some models, made for
    English, need twice as many tokens for Russian.
    """
    roles = [message.role for message in messages]
    begins = next((place for place, role in enumerate(roles) if role != "system"), len(roles))
    question = max((place for place, role in enumerate(roles) if role == "user"), default=begins)
    if question <= begins:
        return None
    return (*messages[:begins], *messages[begins + (question - begins + 1) // 2 :])


class _Ear:
    """Listens to one answer: passes on what may be shown, keeps the rest. `hear` runs for every token."""

    def __init__(self, context: RunContext, request: ModelRequest) -> None:
        self.request = request
        self.text: list[str] = []
        self.pieces = 0
        self.first_at: float | None = None
        self.end: ModelEnd | None = None
        self._characters_left = request.max_tokens * _CHARACTERS_PER_TOKEN
        self._most_pieces = request.max_tokens + _PIECES_OVER
        self._held = HeldText() if request.tools else None
        # An answer in several turns reads as several paragraphs.
        self._gap = "\n\n" if context.said and not context.said[-1].endswith("\n") else ""
        self._mark = len(context.said)
        self._context = context
        self._utter: Callable[[str], None] = context.utter

    def hear(self, piece: str) -> bool:
        """Take one piece in; False when the model has said more than it was allowed to."""
        if not self.pieces:
            self.first_at = time.perf_counter()
        self.pieces += 1
        self._characters_left -= len(piece)
        if self.pieces > self._most_pieces or self._characters_left < 0:
            return False
        self.text.append(piece)
        shown = piece if self._held is None else self._held.feed(piece)
        if shown:
            self._show(shown)
        return True

    def release(self) -> None:
        """Show what was held back after all: it was text."""
        if self._held is not None and (rest := self._held.finish()):
            self._show(rest)

    def shown(self) -> str:
        return "".join(self._context.said[self._mark :]).strip()

    def usage(self) -> TokenUsage:
        """Give what the provider counted, or a guess where it did not."""
        if self.end is not None and (self.end.usage.output_tokens or not self.pieces):
            return self.end.usage
        characters = sum(len(message.content) for message in self.request.messages)
        return TokenUsage(input_tokens=characters // 3, output_tokens=self.pieces, estimated=True)

    def _show(self, text: str) -> None:
        if self._gap:
            text, self._gap = self._gap + text, ""
        self._utter(text)


async def _listen(stream: AsyncIterator[str | ModelEnd], ear: _Ear) -> None:
    try:
        async for piece in stream:
            if isinstance(piece, ModelEnd):
                ear.end = piece
                return
            if piece and not ear.hear(piece):
                return
    finally:
        # Closing is what stops the model; waiting for the collector would let it write on.
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
    raise ModelGarbled("The model's answer broke off without an end.")


def _turn(context: RunContext, step: int, ear: _Ear) -> Turn:
    calls = ear.end.tool_calls if ear.end else ()
    if ear.end and not calls and ear.request.tools:
        calls = find_text_calls("".join(ear.text), ear.request.tools)
        if calls:
            return Turn(step, ear.shown(), calls)
    if ear.end:  # Of an overrun, what is still held is half a tool call as likely as not.
        ear.release()
    text = "".join(ear.text)
    if ear.end and (calls or ear.end.reason != "length"):
        return Turn(step, text, calls)
    if context.budget.tokens_left <= 0:
        return Turn(step, text, cut=LimitReached("tokens", context.budget.limits.tokens))
    return Turn(step, text, cut=LimitReached("window", ear.usage().output_tokens))


def _model_use(
    context: RunContext, step: int, usage: TokenUsage, started: float, first_at: float | None
) -> ModelUse:
    return ModelUse(
        role=context.role.code,
        version=context.role.version,
        step=step,
        usage=usage,
        ms=round((time.perf_counter() - started) * 1000),
        first_token_ms=None if first_at is None else round((first_at - started) * 1000),
    )
