"""What every client of a model promises, whatever the server does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from engine.adapters.models.openai import UNREADABLE
from engine.core.errors import Refusal
from engine.domains.runs import (
    ChatModel,
    ModelEnd,
    ModelGarbled,
    ModelMessage,
    ModelRequest,
    ModelTimeout,
    ModelUnavailable,
    TokenUsage,
    ToolCall,
    ToolSpec,
)

from .clients import ALL, ASK, NATIVE, OPEN, OPENAI_NATIVE, QUICK, Client, answer_of
from .fake_models import KEY, FakeModels, Script, serving

WEATHER = ToolSpec(
    "find_law",
    "Find a law.",
    {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]},
)
every_client = pytest.mark.parametrize("client", ALL, ids=lambda client: client.name)
native_clients = pytest.mark.parametrize("client", NATIVE, ids=lambda client: client.name)


@pytest.fixture
async def fake() -> AsyncIterator[FakeModels]:
    async with serving(FakeModels()) as server:
        yield server


@pytest.fixture(autouse=True)
async def _nothing_is_left_open() -> AsyncIterator[None]:
    yield
    while OPEN:
        await OPEN.pop().close()


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
async def test_an_answer_comes_whole_and_ends_once_with_its_usage(client: Client, fake: FakeModels) -> None:
    text, end = await answer_of(client(fake.url))

    assert text == "".join(fake.script.pieces)
    assert end == ModelEnd("stop", TokenUsage(11, 7))


@every_client
async def test_pieces_arrive_as_they_are_written(client: Client, fake: FakeModels) -> None:
    fake.script = Script(pieces=("раз ", "два ", "три"), gap_seconds=0.2)

    parts = client(fake.url).stream(ASK)
    arrivals = [time.monotonic() async for part in parts if isinstance(part, str)]

    assert len(arrivals) == 3
    assert arrivals[1] - arrivals[0] > 0.1
    assert arrivals[2] - arrivals[1] > 0.1


@every_client
@pytest.mark.parametrize("chop", [1, 2, 3, 7, 50])
async def test_chunks_may_end_anywhere_even_within_a_letter(
    client: Client, fake: FakeModels, chop: int
) -> None:
    fake.script = Script(chop=chop)

    text, end = await answer_of(client(fake.url))

    assert text == "".join(Script().pieces)
    assert end.usage == TokenUsage(11, 7)


@every_client
async def test_other_line_ends_and_comments_change_nothing(client: Client, fake: FakeModels) -> None:
    fake.script = Script(line_end="\r\n", comments=True, pieces=("да", " ", "нет"))

    text, _ = await answer_of(client(fake.url))

    assert text == "да нет"


@every_client
async def test_thoughts_are_not_part_of_the_answer(client: Client, fake: FakeModels) -> None:
    fake.script = Script(thoughts=5, pieces=("Ответ",))

    text, _ = await answer_of(client(fake.url))

    assert text == "Ответ"


@every_client
async def test_unsaid_usage_is_estimated_and_marked(client: Client, fake: FakeModels) -> None:
    fake.script = Script(usage=False)

    _, end = await answer_of(client(fake.url))

    assert end.usage.estimated
    assert end.usage.input_tokens > 5
    assert len(fake.script.pieces) <= end.usage.output_tokens <= 2 * len(fake.script.pieces)


@every_client
async def test_an_answer_at_its_limit_says_so(client: Client, fake: FakeModels) -> None:
    fake.script = Script(reason="length")

    _, end = await answer_of(client(fake.url))

    assert end.reason == "length"


@every_client
async def test_nul_never_reaches_the_caller(client: Client, fake: FakeModels) -> None:
    fake.script = Script(pieces=("a\x00b", "\x00c"))

    text, _ = await answer_of(client(fake.url))

    assert text == "abc"


@every_client
async def test_a_letter_cut_in_halves_is_made_whole_again(client: Client, fake: FakeModels) -> None:
    fake.script = Script(pieces=("мир \ud83c", "\udf0d!", " и половина \ud83c."), escape=True)

    text, _ = await answer_of(client(fake.url))

    assert text == "мир 🌍! и половина \ufffd."


@every_client
async def test_tool_calls_come_whole_with_the_end(client: Client, fake: FakeModels) -> None:
    fake.script = Script(
        pieces=("Сейчас найду.",),
        tool_calls=(("find_law", '{"words": "аренда, срок"}'), ("find_law", '{"words": "залог"}')),
    )

    text, end = await answer_of(client(fake.url), replace(ASK, tools=(WEATHER,)))

    assert text == "Сейчас найду."
    assert end.reason == "tool_calls"
    assert [(call.name, call.arguments) for call in end.tool_calls] == [
        ("find_law", {"words": "аренда, срок"}),
        ("find_law", {"words": "залог"}),
    ]
    assert len({call.id for call in end.tool_calls}) == 2
    assert fake.requests[0]["tools"][0]["function"]["parameters"] == WEATHER.parameters


@pytest.mark.parametrize("client", [c for c in ALL if c.speaks_openai], ids=lambda client: client.name)
async def test_broken_arguments_are_marked_for_validation_to_refuse(client: Client, fake: FakeModels) -> None:
    fake.script = Script(pieces=(), tool_calls=(("find_law", '{"words": "аре'),))

    _, end = await answer_of(client(fake.url), replace(ASK, tools=(WEATHER,)))

    assert end.tool_calls[0].arguments == {UNREADABLE: '{"words": "аре'}


@every_client
async def test_tool_results_and_limits_are_sent_as_the_protocol_wants(
    client: Client, fake: FakeModels
) -> None:
    call = ToolCall("call_7", "find_law", {"words": "аренда"})
    request = ModelRequest(
        messages=(
            *ASK.messages,
            ModelMessage("assistant", "", tool_calls=(call,)),
            ModelMessage("tool", "ГК РФ, ст. 619", tool_call_id="call_7", tool_name="find_law"),
        ),
        tools=(WEATHER,),
        max_tokens=77,
        temperature=0.5,
    )

    await answer_of(client(fake.url), request)

    sent = fake.requests[0]
    said = sent.get("options", sent)
    assert said["temperature"] == 0.5
    assert 77 in (said.get("num_predict"), said.get("max_tokens"), said.get("max_completion_tokens"))
    assert sent["messages"][-1]["content"] == "ГК РФ, ст. 619"


@every_client
async def test_an_answer_of_a_given_shape_is_asked_for(client: Client, fake: FakeModels) -> None:
    schema = {"type": "object", "properties": {"risk": {"type": "string"}}, "title": "risk"}
    fake.script = Script(pieces=('{"risk"', ': "нет"}'))

    text, _ = await answer_of(client(fake.url), replace(ASK, json_schema=schema))

    assert text == '{"risk": "нет"}'
    sent = fake.requests[0]
    asked = sent["format"] if "format" in sent else sent["response_format"]["json_schema"]["schema"]
    assert asked["properties"] == schema["properties"]


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

    assert len(fake.requests) == 1
    assert str(status) in caught.value.message
    if client.speaks_openai:
        assert KEY not in caught.value.message
        assert ("RUGPT_OPENAI_API_KEY" in caught.value.message) == (status in (401, 403))


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

    assert 0.25 < time.monotonic() - started < 1.5
    assert len(fake.requests) == 1


@every_client
async def test_a_silence_in_the_middle_is_a_timeout(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="silent")
    started = time.monotonic()

    text, error = await partly_read(client(fake.url, replace(QUICK, gap_seconds=0.3)))

    assert text == "".join(fake.script.pieces)
    assert isinstance(error, ModelTimeout)
    assert "silent" in error.message
    assert 0.25 < time.monotonic() - started < 1.5


@every_client
async def test_an_answer_without_end_in_time_is_a_timeout(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="endless", gap_seconds=0.02)
    started = time.monotonic()

    text, error = await partly_read(client(fake.url, replace(QUICK, total_seconds=0.8)))

    assert text
    assert isinstance(error, ModelTimeout)
    assert "still writing" in error.message
    assert time.monotonic() - started < 2


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

    assert text == "".join(fake.script.pieces)
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
async def test_closing_the_iterator_stops_the_model_at_once(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="endless", gap_seconds=0.02)

    async with aclosing(client(fake.url).stream(ASK)) as parts:  # type: ignore[type-var]  # a generator, in fact
        async for _ in parts:
            break

    await asyncio.wait_for(fake.dropped_by_client.wait(), 0.5)


@every_client
async def test_cancelling_the_reader_stops_the_model_at_once(client: Client, fake: FakeModels) -> None:
    fake.script = Script(ending="silent")
    reading = asyncio.create_task(answer_of(client(fake.url)))
    await asyncio.wait_for(fake.all_sent.wait(), 2)

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    await asyncio.wait_for(fake.dropped_by_client.wait(), 0.5)


@native_clients
async def test_a_slow_reader_is_not_blamed_on_the_model(client: Client, fake: FakeModels) -> None:
    fake.script = Script(gap_seconds=0.05, pieces=("раз", "два", "три"))
    text = ""

    async for part in client(fake.url, replace(QUICK, gap_seconds=0.2)).stream(ASK):
        text += part if isinstance(part, str) else ""
        await asyncio.sleep(0.3)

    assert text == "раздватри"


@native_clients
async def test_two_hundred_answers_stream_at_once(client: Client, fake: FakeModels) -> None:
    fake.script = Script(gap_seconds=0.05, first_token_seconds=0.3)
    model = client(fake.url, replace(QUICK, first_token_seconds=5))
    started = time.monotonic()

    answers = await asyncio.gather(*(answer_of(model) for _ in range(200)))

    assert {text for text, _ in answers} == {"".join(fake.script.pieces)}
    assert time.monotonic() - started < 5  # one after another they would need two minutes
    await model.close()


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


@every_client
async def test_a_closed_client_may_be_closed_again(client: Client, fake: FakeModels) -> None:
    model = client(fake.url)
    await answer_of(model)

    await model.close()
    await model.close()
