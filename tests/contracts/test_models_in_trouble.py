"""What every client of a model promises when the server is busy, slow, broken, unknown or away."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from engine.core.errors import Refusal
from engine.domains.runs import ChatModel, ModelGarbled, ModelTimeout, ModelUnavailable, PromptTooLong

from .clients import ASK, OPENAI_NATIVE, QUICK, Client, answer_of, every_client, native_clients
from .fake_models import KEY, FakeModels, Script, serving


async def partly_read(model: ChatModel) -> tuple[str, Refusal | None]:
    """Read until the end or an error; return the text so far and the error."""
    text = ""
    try:
        async for part in model.stream(ASK):
            text += part if isinstance(part, str) else ""
    except Refusal as error:  # Handed to the test, which says which one it wants.
        return text, error
    return text, None


@every_client
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_server_is_asked_again(client: Client, fake: FakeModels, status: int) -> None:
    fake.script = Script(refusals=[(status, "busy", {"Retry-After": "0.05"}), (status, "busy", {})])

    text, _ = await answer_of(client(fake.url))

    assert text == "".join(Script().pieces)
    assert len(fake.requests) == 3


@every_client
async def test_a_server_that_stays_busy_is_given_up_after_three_attempts(
    client: Client, fake: FakeModels
) -> None:
    fake.script = Script(refusals=[(500, "no memory", {"Retry-After": "0.01"})] * 9)

    with pytest.raises(ModelUnavailable, match="no memory"):
        await answer_of(client(fake.url))

    assert len(fake.requests) == 3


@every_client
async def test_a_server_that_wants_long_patience_is_given_up_within_the_limit(
    client: Client, fake: FakeModels
) -> None:
    fake.script = Script(refusals=[(429, "tomorrow", {"Retry-After": "86400"})] * 9)
    limits = replace(QUICK, first_token_seconds=0.3)
    started = time.monotonic()

    with pytest.raises(ModelUnavailable, match="tomorrow"):
        await answer_of(client(fake.url, limits))

    assert time.monotonic() - started < 2


@every_client
@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_that_time_will_not_heal_is_not_repeated(
    client: Client, fake: FakeModels, status: int
) -> None:
    fake.script = Script(refusals=[(status, f"no, not with {KEY}", {})] * 3)

    with pytest.raises(ModelUnavailable) as caught:
        await answer_of(client(fake.url))

    assert not isinstance(caught.value, PromptTooLong)
    assert len(fake.requests) == 1
    assert str(status) in caught.value.message
    if client.speaks_openai:
        assert KEY not in caught.value.message
        assert ("RUGPT_OPENAI_API_KEY" in caught.value.message) == (status in (401, 403))


@every_client
@pytest.mark.parametrize(
    "words",
    [
        "request (12031 tokens) exceeds the available context size (1024 tokens), try increasing it",
        "This model's maximum context length is 4096 tokens. However, you requested 5210 tokens",
        "The decoder prompt (length 5210) is longer than the maximum model length of 4096.",
        "The input (5210 tokens) is longer than the model's context length (4096 tokens).",
    ],
)
async def test_a_prompt_that_does_not_fit_is_told_from_other_refusals(
    client: Client, fake: FakeModels, words: str
) -> None:
    fake.script = Script(refusals=[(400, words, {})])

    with pytest.raises(PromptTooLong):
        await answer_of(client(fake.url))

    assert len(fake.requests) == 1


@every_client
async def test_an_unknown_model_is_named_as_the_trouble(client: Client, fake: FakeModels) -> None:
    with pytest.raises(ModelUnavailable, match="nonsense-model"):
        await answer_of(client(fake.url, model="nonsense-model"))


@every_client
async def test_nobody_at_the_address_is_an_unavailable_model(client: Client) -> None:
    async with serving(FakeModels()) as gone:
        url = gone.url

    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        await answer_of(client(url))


@every_client
async def test_a_late_first_token_is_a_timeout(client: Client, fake: FakeModels) -> None:
    fake.script = Script(first_token_seconds=10)
    started = time.monotonic()

    with pytest.raises(ModelTimeout, match="No word"):
        await answer_of(client(fake.url, replace(QUICK, first_token_seconds=0.3)))

    assert 0.25 < time.monotonic() - started < 6
    assert len(fake.requests) == 1


@every_client
async def test_a_silence_in_the_middle_is_a_timeout(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="silent")
    started = time.monotonic()

    text, error = await partly_read(client(fake.url, replace(QUICK, gap_seconds=0.3)))

    assert text == "".join(fake.script.pieces)
    assert isinstance(error, ModelTimeout)
    assert "silent" in error.message
    assert 0.25 < time.monotonic() - started < 6


@every_client
async def test_an_answer_without_end_in_time_is_a_timeout(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="endless", gap_seconds=0.02)
    started = time.monotonic()

    text, error = await partly_read(client(fake.url, replace(QUICK, total_seconds=0.8)))

    assert text
    assert isinstance(error, ModelTimeout)
    assert "still writing" in error.message
    assert time.monotonic() - started < 8


@every_client
async def test_an_endless_answer_is_cut_at_a_sane_length(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="endless")

    text, end = await answer_of(client(fake.url, replace(QUICK, answer_characters=5_000)))

    assert 5_000 < len(text) < 200_000
    assert end.reason == "length"
    assert end.usage.estimated
    await asyncio.wait_for(fake.dropped_by_client.wait(), 1)


@every_client
async def test_a_dropped_connection_after_words_is_not_repeated(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="dropped", gap_seconds=0.02)

    text, error = await partly_read(client(fake.url))

    assert text  # A dropped connection may take words along that were on their way.
    assert "".join(fake.script.pieces).startswith(text)
    assert isinstance(error, ModelUnavailable)
    assert len(fake.requests) == 1


@every_client
async def test_a_dropped_connection_before_words_is_repeated(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="dropped", pieces=())

    text, error = await partly_read(client(fake.url))

    assert text == ""
    assert isinstance(error, ModelUnavailable)
    assert len(fake.requests) == 3


@every_client
async def test_an_error_in_the_middle_is_passed_on_in_words(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="error", gap_seconds=0.02)

    text, error = await partly_read(client(fake.url))

    assert text == "".join(fake.script.pieces)
    assert isinstance(error, ModelUnavailable)
    assert "out of memory" in error.message


@every_client
async def test_an_answer_that_stops_halfway_is_garbled(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="unfinished")

    text, error = await partly_read(client(fake.url))

    assert text == "".join(fake.script.pieces)
    assert isinstance(error, ModelGarbled)


@every_client
@pytest.mark.parametrize(
    "raw",
    [
        b"<html><body>502 Bad Gateway</body></html>\n",
        b"data: {not json}\n\n",
        b"data: [1, 2]\n\n",
        b"data: \xff\xfe\xfd\n\n",
        b"{not json}\n",
        b"[]\n",
        b"",
    ],
)
async def test_an_answer_of_another_shape_is_garbled(client: Client, fake: FakeModels, raw: bytes) -> None:
    fake.script = Script(raw=raw or b"\n", raw_type="text/event-stream")

    text, error = await partly_read(client(fake.url))

    assert text == ""
    assert isinstance(error, ModelGarbled)


@native_clients
@pytest.mark.parametrize(
    "event",
    [
        {"choices": 5, "message": 5, "done": True},
        {"choices": [5], "message": {"content": 5}},
        {"choices": [{"delta": {"content": {"a": 1}}}], "message": {"content": ["x"]}},
        {
            "choices": [{"delta": {"tool_calls": [5]}}],
            "message": {"role": "a", "content": "", "tool_calls": [5]},
        },
        {
            "choices": [{"delta": {"tool_calls": [{"function": 7}]}}],
            "message": {"role": "a", "content": "", "tool_calls": [{"function": 7}]},
        },
    ],
)
async def test_fields_of_the_wrong_kind_are_garbled(
    client: Client, fake: FakeModels, event: dict[str, Any]
) -> None:
    prefix = b"data: " if client.speaks_openai else b""
    fake.script = Script(raw=prefix + json.dumps(event).encode() + b"\n\n", raw_type="text/event-stream")

    _, error = await partly_read(client(fake.url))

    assert error is None or isinstance(error, ModelGarbled)
    assert error is not None or not client.speaks_openai


@native_clients
async def test_a_line_without_end_is_garbled_before_it_fills_the_memory(
    client: Client, fake: FakeModels
) -> None:
    fake.script = Script(raw=b"data: " + b"x" * 3_000_000, raw_type="text/event-stream")

    _, error = await partly_read(client(fake.url))

    assert isinstance(error, ModelGarbled)
    assert "megabyte" in error.message


@every_client
async def test_a_check_knows_the_model_costs_nothing_and_never_raises(
    client: Client, fake: FakeModels
) -> None:
    well = await client(fake.url).check()
    unknown = await client(fake.url, model="nonsense-model").check()

    assert well.ok
    assert not unknown.ok
    assert "nonsense-model" in unknown.detail
    assert fake.requests == []


@every_client
async def test_a_check_of_nobody_says_so(client: Client) -> None:
    async with serving(FakeModels()) as gone:
        url = gone.url

    health = await client(url).check()

    assert not health.ok
    assert "cannot be reached" in health.detail


async def test_a_check_with_a_wrong_key_says_which_setting_to_correct(fake: FakeModels) -> None:
    fake.key = "another"

    health = await OPENAI_NATIVE(fake.url).check()

    assert not health.ok
    assert "RUGPT_OPENAI_API_KEY" in health.detail
    assert KEY not in health.detail
