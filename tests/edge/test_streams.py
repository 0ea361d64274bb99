"""Live streams: nothing lost, nothing doubled, nothing told to those who are no longer meant to hear it."""

import asyncio
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.edge.serving import (
    ENDS,
    WORDS,
    Client,
    Stage,
    asked,
    is_message,
    kind,
    numbered,
    to_the_end,
    until,
    words_of,
)
from tests.process.engine import ChatPicture, Follower
from tests.process.engine import Person as Caller

TEXT = "".join(WORDS)
RELAXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


async def message(client: Client, chat_id: str, message_id: str) -> dict[str, Any]:
    page = await client.call("GET", f"/chats/{chat_id}/messages")
    return next(one for one in page["items"] if one["id"] == message_id)


async def test_an_answer_is_heard_word_by_word_and_equals_what_is_stored(
    stage: Stage, ann: Client, ivan: Client
) -> None:
    chat_id = await ann.open_chat(ivan)
    stream = await ivan.follow(f"/chats/{chat_id}/events")
    await until(stream, kind("hello"))

    run_id, answer_id = await asked(ann, chat_id)
    heard = await until(stream, kind(*ENDS))

    assert [event.kind for event in heard if event.kind != "run.delta"] == [
        *["message.created", "run.queued", "run.started", "message.created", "run.completed"]
    ]
    assert sum(event.kind == "run.delta" for event in heard) >= 3
    assert words_of(heard, run_id) == TEXT
    answer = next(
        event for event in heard if event.data.get("message_id") == answer_id and "message" in event.data
    )
    assert answer.data["message"] == await message(ivan, chat_id, answer_id)
    assert answer.data["message"]["content"] == TEXT.strip() or answer.data["message"]["content"] == TEXT
    assert (answer.data["message"]["ai_validated"], answer.data["message"]["role"]) == (False, "lawyer")
    run = await ivan.call("GET", f"/runs/{run_id}")
    assert (run["status"], run["model"], run["error"]) == ("completed", "scripted:scripted", None)


async def test_a_post_that_asks_for_a_stream_is_told_its_message_its_runs_and_ends_with_them(
    stage: Stage, ann: Client
) -> None:
    chat_id = await ann.open_chat()
    body = {"content": "@@lawyer @@hr, что скажете?", "client_message_id": "1"}

    events = await to_the_end(await ann.follow(f"/chats/{chat_id}/messages", body=body))

    assert events[0].kind == "message.created"
    assert events[0].data["message"]["content"] == body["content"]
    runs = [event.data["run_id"] for event in events if event.kind == "run.queued"]
    assert len(runs) == 2
    assert [words_of(events, run_id) for run_id in runs] == [TEXT, TEXT]
    assert sum(event.kind == "run.completed" for event in events) == 2
    answers = [event for event in events[1:] if event.kind == "message.created"]
    assert {event.data["message"]["role"] for event in answers} == {"lawyer", "hr"}


async def test_a_streaming_post_said_again_tells_how_things_stand_and_calls_nobody(
    stage: Stage, ann: Client
) -> None:
    chat_id = await ann.open_chat()
    path, body = f"/chats/{chat_id}/messages", {"content": "@@lawyer", "client_message_id": "1"}
    first = await ann.follow(path, body=body)
    begun = await until(first, kind("run.delta"))
    run_id = begun[-1].data["run_id"]
    first.close()

    midway = await to_the_end(await ann.follow(path, body=body))
    after = await to_the_end(await ann.follow(path, body=body))

    assert midway[0].data["message_id"] == begun[0].data["message_id"]
    assert words_of(midway, run_id) == TEXT
    assert midway[-1].kind == "run.completed"
    assert [event.kind for event in after] == ["message.created", "run.completed"]
    assert len(stage.model.requests) == 1


async def test_a_streaming_post_without_roles_ends_with_its_message(ann: Client) -> None:
    chat_id = await ann.open_chat()

    events = await to_the_end(await ann.follow(f"/chats/{chat_id}/messages", body={"content": "просто так"}))

    assert [event.kind for event in events] == ["message.created"]


async def test_a_streaming_post_that_is_refused_is_an_ordinary_refusal(stage: Stage, ann: Client) -> None:
    chat_id = await ann.open_chat()

    refused = await ann.call(
        "POST", f"/chats/{chat_id}/messages", {"content": " "}, expect=422, Accept="text/event-stream"
    )

    assert refused["code"] == "invalid_request"
    assert stage.hub.readers == 0


async def test_a_stream_resumed_after_any_event_tells_exactly_the_rest(stage: Stage, ann: Client) -> None:
    chat_id = await ann.open_chat()
    for text in ("первое", "@@lawyer", "@ann, третье"):
        await ann.post(chat_id, text)
    await stage.rest()
    for path in (f"/chats/{chat_id}/events", "/events"):
        whole = await ann.follow(path, last_event_id=0)
        await ann.call("POST", f"/chats/{chat_id}/read", {})
        last = await ann.post(chat_id, "конец")
        events = numbered(await until(whole, is_message(last["message"]["id"])))
        numbers = [event.no or 0 for event in events]
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 8
        for place, event in enumerate(events[:-1]):
            stream = await ann.follow(path, last_event_id=event.no)
            rest = await until(stream, lambda heard: heard.no == numbers[-1])  # noqa: B023
            assert rest[0].kind == "hello"
            assert [(one.no, one.kind, one.data) for one in rest[1:]] == [
                (one.no, one.kind, one.data) for one in events[place + 1 :]
            ]
            stream.close()
        whole.close()


@settings(max_examples=5, suppress_health_check=RELAXED)
@given(cuts=st.lists(st.integers(1, 2_000), max_size=5))
async def test_a_reader_who_is_cut_anywhere_while_roles_talk_misses_nothing(
    stage: Stage, cuts: list[int]
) -> None:
    firm = await stage.world.organization()
    ann = await stage.enter(firm.admin)
    chat_id = await ann.open_chat()
    caller = Caller(stage.port, ann.token, {"id": ann.id, "username": "ann"})
    careful, careless = Follower(caller, chat_id), Follower(caller, chat_id)
    await careful.begin()
    await careless.begin()

    def is_over(seen: ChatPicture) -> bool:
        return len(seen.runs) == 2 and seen.has_ended()

    await ann.post(chat_id, "@@lawyer @@hr, ау")
    await asyncio.gather(
        careful.until(is_over, seconds=15), careless.until(is_over, seconds=15, cuts=cycle([*cuts, 5_000]))
    )

    for follower in (careful, careless):
        await follower.check_against_fresh_load()
        follower.cut()
    assert careful.picture.texts_checked == 2


async def test_a_run_resumed_after_any_event_tells_exactly_the_rest(stage: Stage, ann: Client) -> None:
    chat_id = await ann.open_chat()
    run_id, answer_id = await asked(ann, chat_id)

    live_told = await to_the_end(await ann.follow(f"/runs/{run_id}/events"))
    again = await to_the_end(await ann.follow(f"/runs/{run_id}/events"))

    assert [(one.no, one.kind, one.data) for one in live_told] == [
        (one.no, one.kind, one.data) for one in again
    ]
    numbers = [event.no for event in live_told]
    assert all(isinstance(number, int) for number in numbers)
    assert numbers == sorted(set(numbers))  # type: ignore[type-var]
    assert (live_told[0].kind, live_told[-1].kind) == ("run.started", "run.completed")
    said = "".join(event.data["text"] for event in live_told if event.kind == "run.delta")
    assert said == TEXT
    for place, event in enumerate(live_told):
        rest = await to_the_end(await ann.follow(f"/runs/{run_id}/events", last_event_id=event.no))
        assert [(one.no, one.data) for one in rest] == [(one.no, one.data) for one in live_told[place + 1 :]]
    assert (await message(ann, chat_id, answer_id))["content"].strip() == said.strip()


@settings(max_examples=6, suppress_health_check=RELAXED)
@given(pauses=st.lists(st.integers(1, 9), min_size=1, max_size=5))
async def test_a_run_followed_in_pieces_while_it_talks_is_told_once_and_whole(
    stage: Stage, pauses: list[int]
) -> None:
    ann = await stage.enter((await stage.world.organization()).admin)
    run_id, _ = await asked(ann, await ann.open_chat())
    told: list[Any] = []

    for pause in cycle(pauses):
        stream = await ann.follow(f"/runs/{run_id}/events", last_event_id=told[-1].no if told else None)
        count = len(told) + pause

        def is_enough(event: Any, count: int = count) -> bool:
            told.append(event)
            return len(told) >= count or event.kind in ENDS

        await until(stream, is_enough)
        stream.close()
        if told[-1].kind in ENDS:
            break

    whole = await to_the_end(await ann.follow(f"/runs/{run_id}/events"))
    assert [(one.no, one.kind, one.data) for one in told] == [(one.no, one.kind, one.data) for one in whole]
    assert "".join(one.data["text"] for one in told if one.kind == "run.delta") == TEXT


async def test_whoever_comes_in_the_middle_gets_a_snapshot_and_the_words_after_it(
    stage: Stage, ann: Client, ivan: Client
) -> None:
    chat_id = await ann.open_chat(ivan)
    first = await ann.follow(f"/chats/{chat_id}/events")
    run_id, _ = await asked(ann, chat_id)
    await until(first, kind("run.delta"))

    for path in (f"/chats/{chat_id}/events", "/events"):
        stream = await ivan.follow(path)
        opened = await until(stream, kind("run.snapshot"))
        assert [event.kind for event in opened] == ["hello", "run.snapshot"]
        assert TEXT.startswith(opened[-1].data["text"])
        stream.close()
    last = await ivan.follow("/events")
    assert words_of(await until(last, kind("run.completed")), run_id) == TEXT


@pytest.mark.parametrize("path", ["/chats/{chat_id}/events", "/events", "/runs/{run_id}/events"])
@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "0x10", "9" * 19, "9" * 5000, "1e3", "²", "null"])
async def test_a_bad_event_id_is_refused(ann: Client, path: str, bad: str) -> None:
    chat_id = await ann.open_chat()
    run_id, _ = await asked(ann, chat_id)
    headers: dict[str, Any] = {"Last-Event-ID": bad.encode()}

    refused = await ann.call("GET", path.format(chat_id=chat_id, run_id=run_id), expect=422, **headers)

    assert refused["code"] == "bad_event_id"


async def test_a_resume_from_what_is_forgotten_says_that_the_chats_must_be_loaded_anew(
    stage: Stage, ann: Client, database_url: str
) -> None:
    import asyncpg

    chat_id = await ann.open_chat()
    for n in range(3):
        await ann.post(chat_id, f"{n}")
    owner = await asyncpg.connect(database_url)
    await owner.execute("DELETE FROM events WHERE no <= 2")
    await owner.close()

    stream = await ann.follow(f"/chats/{chat_id}/events", last_event_id=1)
    events = await until(stream, kind("message.created"))
    fresh = await ann.follow(f"/chats/{chat_id}/events", last_event_id=2)

    assert [event.kind for event in events[:2]] == ["hello", "resync"]
    assert "resync" not in [event.kind for event in await until(fresh, kind("message.created"))]


async def test_three_answers_at_once_are_told_apart(stage: Stage, ann: Client) -> None:
    chat_id = await ann.open_chat()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    posted = await ann.post(chat_id, "@@lawyer @@accountant @@hr")

    heard: list[Any] = []
    for _ in posted["runs"]:
        heard += await until(stream, kind("run.completed"))

    assert [words_of(heard, run["id"]) for run in posted["runs"]] == [TEXT] * 3
