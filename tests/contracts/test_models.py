"""What every client of a model promises of the answers it reads."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import pytest

from engine.adapters.models.openai import UNREADABLE
from engine.domains.runs import ModelEnd, ModelMessage, ModelRequest, TokenUsage, ToolCall, ToolSpec

from .clients import ALL, ASK, QUICK, Client, answer_of, every_client, native_clients
from .fake_models import FakeModels, Script

FIND_LAW = ToolSpec(
    "find_law",
    "Find a law.",
    {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]},
)


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

    text, end = await answer_of(client(fake.url), replace(ASK, tools=(FIND_LAW,)))

    assert text == "Сейчас найду."
    assert end.reason == "tool_calls"
    assert [(call.name, call.arguments) for call in end.tool_calls] == [
        ("find_law", {"words": "аренда, срок"}),
        ("find_law", {"words": "залог"}),
    ]
    assert len({call.id for call in end.tool_calls}) == 2
    assert fake.requests[0]["tools"][0]["function"]["parameters"] == FIND_LAW.parameters


@pytest.mark.parametrize("client", [c for c in ALL if c.speaks_openai], ids=lambda client: client.name)
async def test_broken_arguments_are_marked_for_validation_to_refuse(client: Client, fake: FakeModels) -> None:
    fake.script = Script(pieces=(), tool_calls=(("find_law", '{"words": "аре'),))

    _, end = await answer_of(client(fake.url), replace(ASK, tools=(FIND_LAW,)))

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
        tools=(FIND_LAW,),
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
async def test_a_closed_client_may_be_closed_again(client: Client, fake: FakeModels) -> None:
    model = client(fake.url)
    await answer_of(model)

    await model.close()
    await model.close()
