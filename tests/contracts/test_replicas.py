"""A model with several replicas: shared out, and left for another as long as nothing was said."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import pytest

from engine.adapters.models import replicas
from engine.adapters.models.replicas import ReplicatedModel
from engine.adapters.models.wire import Limits
from engine.core.feed import Feed
from engine.domains.runs import (
    ModelEnd,
    ModelMessage,
    ModelRequest,
    ModelTimeout,
    ModelUnavailable,
    ReplicaSeen,
)
from tests.process.engine import eventually

from .clients import ASK, OPEN, QUICK, answer_of
from .fake_models import KEY, MODEL, FakeModels, Script, serving

WORDS = ("Да", ", ", "можно")
SLOW = Script(pieces=WORDS, gap_seconds=0.1)


@pytest.fixture
async def two() -> AsyncIterator[list[FakeModels]]:
    """Two servers of the same model."""
    async with AsyncExitStack() as exits:
        yield [await exits.enter_async_context(serving(FakeModels())) for _ in range(2)]


def named(*urls: str, limits: Limits = QUICK) -> ReplicatedModel:
    model = ReplicatedModel(name=MODEL, api_key=KEY, limits=limits, urls=[f"{url}/v1" for url in urls])
    OPEN.append(model)
    return model


def heard(feed: Feed, limits: Limits = QUICK) -> ReplicatedModel:
    model = ReplicatedModel(name=MODEL, provider="embedded", api_key=KEY, limits=limits, feed=feed, wanted=2)
    OPEN.append(model)
    return model


def seen(name: str, server: FakeModels | None, *, slots: int = 4, detail: str = "") -> ReplicaSeen:
    return ReplicaSeen(name, MODEL, f"{server.url}/v1" if server else None, slots, 0, detail)


def nowhere() -> str:
    """Return an address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def of_role(role: str, question: str = "?") -> ModelRequest:
    return replace(ASK, messages=(ModelMessage("system", f"Ты — {role}."), ModelMessage("user", question)))


async def listen(model: ReplicatedModel, said: list[Any]) -> None:
    """Note what is said, up to where it breaks."""
    async for part in model.stream(ASK):
        said.append(part)  # noqa: PERF401 - what came before a failure counts


async def test_two_replicas_share_what_is_asked_at_once(two: list[FakeModels]) -> None:
    for server in two:
        server.script = SLOW
    model = named(*(server.url for server in two))

    answers = await asyncio.gather(*(answer_of(model, of_role(str(number))) for number in range(6)))

    assert {text for text, _ in answers} == {"Да, можно"}
    assert sorted(len(server.requests) for server in two) == [3, 3]


async def test_a_roles_calls_go_to_the_replica_that_has_read_its_prompt(two: list[FakeModels]) -> None:
    model = named(*(server.url for server in two))

    for number in range(4):
        await answer_of(model, of_role("юрист", f"Вопрос {number}"))

    assert sorted(len(server.requests) for server in two) == [0, 4]


async def test_a_replica_that_cannot_be_reached_is_left_for_the_other(fake: FakeModels) -> None:
    model = named(nowhere(), fake.url)

    answers = [await answer_of(model, of_role(str(number))) for number in range(4)]

    assert len(answers) == len(fake.requests) == 4
    assert (await model.check()).ok


async def test_a_replica_that_breaks_before_its_first_word_is_left_for_the_other(
    two: list[FakeModels],
) -> None:
    for server in two:
        server.script = Script(pieces=(), ending="dropped", first_token_seconds=0.2)
    model = named(*(server.url for server in two))
    answering = asyncio.create_task(answer_of(model))
    await eventually(lambda: any(server.requests for server in two))
    (other,) = [server for server in two if not server.requests]
    other.script = Script(pieces=WORDS)

    text, _ = await answering

    assert text == "Да, можно"
    assert [len(server.requests) for server in two] == [1, 1]


async def test_what_was_begun_to_be_said_is_never_said_by_another(two: list[FakeModels]) -> None:
    for server in two:
        server.script = Script(pieces=WORDS, ending="dropped")
    model = named(*(server.url for server in two))
    said: list[Any] = []

    with pytest.raises(ModelUnavailable, match="broke in the middle"):
        await listen(model, said)

    assert "".join(said) == "Да, можно"
    assert sorted(len(server.requests) for server in two) == [0, 1]


async def test_a_request_that_is_refused_for_itself_is_not_tried_elsewhere(two: list[FakeModels]) -> None:
    for server in two:
        server.script.refusals = [(400, "the prompt is too long", {})]
    model = named(*(server.url for server in two))

    with pytest.raises(ModelUnavailable, match="too long"):
        await answer_of(model)

    assert sorted(len(server.requests) for server in two) == [0, 1]


async def test_a_busy_replica_is_left_for_the_other_and_stays_one(two: list[FakeModels]) -> None:
    for server in two:
        server.script.refusals = [(503, "busy", {})]
    model = named(*(server.url for server in two))

    with pytest.raises(ModelUnavailable, match="busy"):
        await answer_of(model)
    text, _ = await answer_of(model)

    assert text
    assert sum(len(server.requests) for server in two) == 3


async def test_a_call_waits_for_a_replica_to_come(fake: FakeModels) -> None:
    feed = Feed()
    model = heard(feed)
    answering = asyncio.create_task(answer_of(model))
    await asyncio.sleep(0.05)
    feed.send(seen("one", None, detail="loading"))
    state = await model.check()
    feed.send(seen("one", fake))

    text, _ = await answering

    assert (state.ok, state.detail) == (False, "0 of 2 replicas ready: loading")
    assert text
    assert (await model.check()).detail == "1 of 2 replicas ready"


async def test_a_call_that_no_replica_takes_in_time_says_why() -> None:
    feed = Feed()
    model = heard(feed, replace(QUICK, first_token_seconds=0.2))
    feed.send(seen("one", None, detail="no space left"))

    with pytest.raises(ModelUnavailable, match="no space left"):
        await answer_of(model)


async def test_more_calls_than_slots_wait_for_their_turn(fake: FakeModels) -> None:
    fake.script = SLOW
    feed = Feed()
    model = heard(feed)
    feed.send(seen("one", fake, slots=1))
    began = time.monotonic()

    answers = await asyncio.gather(*(answer_of(model) for _ in range(3)))

    assert len(answers) == 3
    assert time.monotonic() - began >= 3 * 0.2  # One after another: each takes two gaps.


async def test_a_replica_that_falls_silent_is_not_waited_for(
    two: list[FakeModels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(replicas, "LOOK_SECONDS", 0.05)
    frozen, alive = two
    frozen.script = replace(SLOW, first_token_seconds=8)
    feed = Feed()
    model = heard(feed)
    feed.send(seen("frozen", frozen))
    answering = asyncio.create_task(answer_of(model))
    await eventually(lambda: bool(frozen.requests))
    began = time.monotonic()
    while not answering.done():
        feed.send(seen("alive", alive))
        await asyncio.sleep(0.05)

    assert (await answering)[0]
    assert time.monotonic() - began < 3
    assert len(alive.requests) == 1


async def test_a_replica_that_is_heard_again_is_asked_again(
    fake: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(replicas, "LOOK_SECONDS", 0.05)
    fake.script = replace(SLOW, first_token_seconds=8)
    feed = Feed()
    model = heard(feed)
    feed.send(seen("one", fake))
    answering = asyncio.create_task(answer_of(model))
    await asyncio.wait_for(fake.dropped_by_client.wait(), 5)
    fake.script = SLOW
    feed.send(seen("one", fake))

    assert (await answering)[0] == "Да, можно"


async def test_an_answer_under_way_is_heard_to_its_end_though_its_replica_is_not_told_of_any_more(
    fake: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(replicas, "LOOK_SECONDS", 0.05)
    fake.script = Script(pieces=WORDS * 3, gap_seconds=0.15)
    feed = Feed()
    model = heard(feed)
    feed.send(seen("one", fake))

    text, _ = await answer_of(model)

    assert text == "Да, можно" * 3


async def test_a_prompt_that_kills_who_reads_it_does_not_go_through_all_of_them() -> None:
    async with AsyncExitStack() as exits:
        servers = [await exits.enter_async_context(serving(FakeModels())) for _ in range(5)]
        for server in servers:
            server.script = Script(pieces=(), ending="dropped")
        feed = Feed()
        model = heard(feed)
        for number, server in enumerate(servers):
            feed.send(seen(str(number), server))

        with pytest.raises(ModelUnavailable):
            await answer_of(model)
        asked = [len(server.requests) for server in servers]

    assert sorted(asked) == [0, 0, 1, 1, 1]


async def test_a_replica_without_a_word_in_time_is_a_timeout(fake: FakeModels) -> None:
    fake.script = replace(SLOW, first_token_seconds=5)
    model = named(fake.url, limits=replace(QUICK, first_token_seconds=0.3))

    with pytest.raises(ModelTimeout):
        await answer_of(model)


async def test_closing_the_stream_hangs_up_and_frees_the_slot(fake: FakeModels) -> None:
    fake.script = Script(ending="endless", gap_seconds=0.01)
    feed = Feed()
    model = heard(feed)
    feed.send(seen("one", fake, slots=1))
    async with aclosing(model.stream(ASK)) as parts:  # type: ignore[type-var]  # a generator, in fact
        async for _ in parts:
            break
    await asyncio.wait_for(fake.dropped_by_client.wait(), 5)
    fake.script = Script(pieces=WORDS)

    assert (await answer_of(model))[0] == "Да, можно"


async def test_cancelling_a_call_that_waits_leaves_the_queue(fake: FakeModels) -> None:
    feed = Feed()
    model = heard(feed)
    waiting = asyncio.create_task(answer_of(model))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    feed.send(seen("one", fake, slots=1))

    assert (await answer_of(model))[0]
    assert len(fake.requests) == 1


async def test_a_closed_model_lets_nobody_wait() -> None:
    model = heard(Feed())
    waiting = asyncio.create_task(answer_of(model))
    await asyncio.sleep(0.05)
    await model.close()

    with pytest.raises(ModelUnavailable, match="closed"):
        await waiting


async def test_replicas_of_another_model_are_not_asked(fake: FakeModels) -> None:
    feed = Feed()
    model = heard(feed, replace(QUICK, first_token_seconds=0.2))
    feed.send(replace(seen("one", fake), model="another"))

    with pytest.raises(ModelUnavailable):
        await answer_of(model)

    assert fake.requests == []


async def test_the_ends_of_replicas_are_those_of_the_model(two: list[FakeModels]) -> None:
    for server in two:
        server.script = Script(pieces=(), tool_calls=(("clock", "{}"),))
    text, end = await answer_of(named(*(server.url for server in two)))

    assert (text, end.reason, [call.name for call in end.tool_calls]) == ("", "tool_calls", ["clock"])
    assert isinstance(end, ModelEnd)
