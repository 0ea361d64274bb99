"""The bench's own arithmetic and readers: figures are worth nothing when these are wrong."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import cycle, islice
from math import isnan

import orjson
import pytest

from bench.fake_model import Connection as ModelConnection
from bench.fake_model import Pace, Wheel, pace_of
from bench.figures import percentile
from bench.http1 import AnswerReader, BadAnswer, Connection, Event, EventReader, call, request
from bench.load import Answer, EngineAnswer, ModelAnswer, Result, Target, model_target, rush, wave
from bench.processes import LISTENING, descendants, proportional_memory_mb
from bench.report import Section, put_section


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 1.0), (0.5, 5.0), (0.51, 6.0), (0.95, 10.0), (0.9, 9.0), (1, 10.0)]
)
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    values = [10.0, 1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0]

    assert percentile(values, share) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_result_without_turns_has_no_times() -> None:
    assert isnan(Result().first_ms(0.5))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_events_are_read_however_they_are_cut(line_end: str, piece: int) -> None:
    lines = ["event: run.delta", 'data: {"text":"Да"}', "", ": ping", "", "data: a", "data: b", "", ""]
    body = line_end.join(lines).encode()
    reader = EventReader()

    events = [event for at in range(0, len(body), piece) for event in reader.feed(body[at : at + piece])]
    events += reader.feed(b"\n")  # A bare \r may be half of \r\n, so the last one waits for what follows.

    assert events == [Event(b"run.delta", '{"text":"Да"}'.encode()), Event(b"message", b"a\nb")]


@pytest.mark.parametrize("piece", [1, 2, 5, 1000])
def test_a_chunked_answer_is_put_together(piece: int) -> None:
    head = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
    reader = AnswerReader()

    body = b"".join(reader.feed(data[at : at + piece]) for at in range(0, len(data), piece))

    assert (reader.status, body, reader.done) == (201, b"abc0123456789", True)


def test_an_answer_of_known_length_ends_there() -> None:
    reader = AnswerReader()

    body = reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab")
    early = reader.done
    body += reader.feed(b"cd")

    assert (body, early, reader.done, reader.keep_alive) == (b"abcd", False, True, False)


def test_an_answer_without_a_length_ends_when_the_server_hangs_up() -> None:
    reader = AnswerReader()

    body = reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    early = reader.done
    reader.hang_up()

    assert (body, early, reader.done) == (b"abc", False, True)


def test_what_is_not_http_is_refused() -> None:
    with pytest.raises(BadAnswer):
        AnswerReader().feed(b"SSH-2.0-x\r\n\r\n")


def _said(name: str, **data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps({"message_id": 7, **data}))


def test_an_engines_answer_is_its_snapshot_and_the_later_deltas() -> None:
    answer = EngineAnswer()

    answer.take(_said("run.snapshot", seq=0, text=""))
    silent = answer.first_at
    answer.take(_said("run.delta", seq=1, text="lost") + _said("run.restarted", run_id=1))
    answer.take(_said("run.snapshot", seq=20, text="a") + _said("run.delta", seq=20, text="a"))
    answer.take(_said("run.delta", seq=21, text="b") + _said("run.completed", run_id=1))

    assert (silent, answer.text(), answer.message_id) == (0, "ab", "7")
    assert 0 < answer.first_at <= answer.done_at


def test_an_answer_that_was_posted_before_its_words_were_told_is_heard_whole() -> None:
    answer = EngineAnswer()

    answer.take(_said("message.created", message={"id": "5", "role": None, "content": "@@assistant ?"}))
    asked = answer.first_at
    answer.take(_said("message.created", message={"id": "8", "role": "assistant", "content": "ab"}))
    answer.take(_said("run.completed", run_id=1))

    assert (asked, answer.text(), answer.message_id) == (0, "ab", "8")
    assert 0 < answer.first_at <= answer.done_at


def test_a_failed_run_is_an_error() -> None:
    answer = EngineAnswer()

    answer.take(_said("run.failed", code="model_unavailable"))

    assert "model_unavailable" in answer.complaint(200)


@pytest.mark.parametrize(
    "line",
    [
        "INFO listening on http://127.0.0.1:8123",
        '{"url": "http://127.0.0.1:8123", "event": "Listening"}',
        "starting\nlistening  url=http://127.0.0.1:8123/\n",
    ],
)
def test_a_servers_port_is_found_in_what_it_says(line: str) -> None:
    found = LISTENING.search(line)

    assert found is not None
    assert found[1] == "8123"


def test_other_addresses_are_not_taken_for_the_servers() -> None:
    assert LISTENING.search("the model is http://127.0.0.1:9\nlistening soon") is None


def test_the_pace_is_read_from_the_models_name() -> None:
    pace = pace_of("fake-50-20-100", Pace(1, 1, 1))

    assert (pace, pace.model, pace.seconds) == (Pace(50, 20, 100), "fake-50-20-100", 2.03)
    assert pace_of("gpt", pace) == pace


@asynccontextmanager
async def _model() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    server = await loop.create_server(lambda: ModelConnection(wheel, Pace(), loop), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_the_fake_model_keeps_its_pace() -> None:
    async with _model() as port:
        result = await wave(model_target(port, "fake-30-10-8", 3), turns=2, spread_seconds=0.01)

    assert (result.errors, result.asked, len(result.turns)) == ([], 9, 6)
    assert all(turn.first >= 0.03 and turn.total >= 0.1 for turn in result.turns)
    texts = [turn.answer.text() for turn in result.turns]
    assert all(len(text.split()) == 1 + 8 for text in texts)  # "Ответ 12:" is the first token.
    assert len(set(texts)) == 6


async def test_in_a_rush_each_user_goes_round_its_own_chats_until_the_time_is_up() -> None:
    asked = 0

    def listen() -> Answer:
        nonlocal asked
        asked += 1
        return ModelAnswer()

    async with _model() as port:
        target = replace(model_target(port, "fake-0-0-20", 4), listen=listen)
        result = await rush(target, users=2, seconds=1, clock=lambda: 0 if asked < 10 else 2)

    assert result.errors == []
    assert 10 <= result.asked == len(result.turns) <= 11
    for chats in ([0, 2], [1, 3]):
        visited = [turn.chat for turn in result.turns if turn.chat in chats]
        assert visited == list(islice(cycle(chats), len(visited)))


async def test_whoever_is_refused_stops_asking_and_says_why() -> None:
    async with _model() as port:
        target = Target(port, [request("GET", "/nothing")], EngineAnswer)
        result = await wave(target, turns=5, spread_seconds=0)

    assert (result.asked, result.turns) == (1, [])
    assert "404" in result.errors[0]
    assert "no such page" in result.errors[0]


async def test_the_fake_model_lists_itself_and_answers_in_one_piece() -> None:
    asked = {"model": "fake-0-0-3", "messages": []}
    async with _model() as port:
        connection = Connection(port)
        listed = await call(connection, request("GET", "/v1/models"))
        answered = await call(connection, request("POST", "/v1/chat/completions", asked))
        connection.close()

    assert (listed[0], listed[1]["data"][0]["id"]) == (200, "fake-50-20-100")
    assert answered[1]["usage"]["completion_tokens"] == 3
    assert answered[1]["choices"][0]["message"]["content"].startswith("Ответ ")


def test_a_section_replaces_its_own_and_leaves_the_rest() -> None:
    one = Section("one", "One", ("", "ms"), (("engine", "1"),), ("A note.",)).markdown("Today.")
    document = put_section(put_section("# Results\n\nBy hand.\n", "one", one), "two", "second")

    changed = put_section(document, "one", "first")

    assert "| engine | 1 |" in document
    assert changed == (
        "# Results\n\nBy hand.\n\n<!-- bench: one -->\nfirst\n<!-- end: one -->\n\n"
        "<!-- bench: two -->\nsecond\n<!-- end: two -->\n"
    )


def test_a_section_that_never_closes_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="never closed"):
        put_section("<!-- bench: one -->\nprecious", "one", "new")


def test_processes_are_found_with_their_children_and_what_they_use() -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        family = descendants(os.getpid())

        assert {os.getpid(), child.pid} <= family.keys()
        assert family[child.pid].startswith("sleep 30")
        assert proportional_memory_mb(os.getpid()) > proportional_memory_mb(child.pid) > 0
    finally:
        child.kill()
        child.wait()
    assert child.pid not in descendants(os.getpid())
    assert proportional_memory_mb(child.pid) == 0
