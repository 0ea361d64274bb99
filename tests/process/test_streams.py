"""Live streams of a real engine: cut anywhere, resumed, and equal to what is stored."""

import asyncio
import random
import socket
from contextlib import closing

import pytest

from engine.api.streams import HEARTBEAT_SECONDS, SEND_SECONDS
from tests.process.conftest import Follow, StartEngine
from tests.process.crashing import IMPATIENT_HEARTBEAT_SECONDS
from tests.process.engine import API, ChatPicture, EngineProcess, Event, Person, Stream, eventually, register
from tests.process.model import PlannedModel, slowly

READERS = 3


def two_runs_ended(seen: ChatPicture) -> bool:
    return len(seen.runs) == 2 and seen.has_ended()


async def test_a_stream_cut_at_any_byte_resumes_with_nothing_lost_or_doubled(
    start_engine: StartEngine, follow: Follow
) -> None:
    ann = await register((await start_engine()).port)
    chat_id = await ann.open_chat()
    careful = await follow(ann, chat_id)
    careless = [await follow(ann, chat_id) for _ in range(READERS)]
    dice = random.Random(7)

    await ann.post(chat_id, "@@lawyer, @@Бухгалтер: что со сроком поставки?")
    async with asyncio.TaskGroup() as all_of_them:
        all_of_them.create_task(careful.until(two_runs_ended))
        for reader in careless:
            cuts = iter(lambda: dice.randrange(1, 3_000), None)
            all_of_them.create_task(reader.until(two_runs_ended, cuts=cuts))

    assert careful.connections == 1
    assert careful.picture.texts_checked == 2
    for reader in (careful, *careless):
        assert len(reader.picture.answers) == 2
        await reader.check_against_fresh_load()
    assert all(reader.connections > 3 for reader in careless)


async def test_every_event_of_a_run_is_resumed_exactly(
    start_engine: StartEngine, model: PlannedModel
) -> None:
    model.script = slowly(words=25, gap_seconds=0.04)
    ann = await register((await start_engine()).port)
    chat_id = await ann.open_chat()
    posted = await ann.post(chat_id, "@@lawyer Что со сроком?")
    run_id = posted["runs"][0]["id"]
    dice = random.Random(11)

    cut: list[Event] = []
    last_id, connections = None, 0
    async with asyncio.timeout(20):
        while not cut or cut[-1].kind != "run.completed":
            connections += 1
            with closing(
                await Stream.open(ann.port, f"/runs/{run_id}/events", ann.token, last_event_id=last_id)
            ) as one:
                async for event in one.events(dice.randrange(100, 500)):
                    cut.append(event)
                    last_id = event.no
    with closing(await Stream.open(ann.port, f"/runs/{run_id}/events", ann.token)) as afterwards:
        whole = [event async for event in afterwards.events()]

    assert connections > 2
    assert cut == whole
    assert all(event.no is not None for event in whole)
    text = "".join(event.data["text"] for event in whole if event.kind == "run.delta")
    (answer,) = (one for one in (await ann.messages(chat_id)).values() if one["role"])
    assert text == answer["content"]


async def test_a_post_that_asks_for_a_stream_gets_its_answers_and_an_end(start_engine: StartEngine) -> None:
    ann = await register((await start_engine()).port)
    chat_id = await ann.open_chat()
    seen = ChatPicture()

    question = {"content": "@@lawyer @@hr Кто отвечает за срок?", "client_message_id": "q"}
    with closing(
        await Stream.open(ann.port, f"/chats/{chat_id}/messages", ann.token, body=question)
    ) as stream:
        async with asyncio.timeout(15):
            async for event in stream.events():
                seen.apply(event, stream)
    with closing(
        await Stream.open(ann.port, f"/chats/{chat_id}/messages", ann.token, body=question)
    ) as again:
        async with asyncio.timeout(5):
            repeated = [event.kind async for event in again.events()]

    assert two_runs_ended(seen)
    assert seen.texts_checked == 2
    assert seen.messages == await ann.messages(chat_id)
    assert sorted(repeated) == ["message.created", "run.completed", "run.completed"]


@pytest.mark.timeout(120)
async def test_a_frozen_reader_is_dropped_while_others_go_on_and_hear_a_heartbeat(
    start_engine: StartEngine, follow: Follow
) -> None:
    assert (HEARTBEAT_SECONDS, SEND_SECONDS) == (15, 10)  # This engine's pass more quickly.
    engine = await start_engine(crash_at="impatient")
    ann = await register(engine.port)
    chat_id = await ann.open_chat()
    lively = await follow(ann, chat_id)
    assert lively.stream is not None
    with closing(freeze_reader(ann, chat_id)):
        long = "ж" * 32_000
        posting = asyncio.create_task(post_many(ann, chat_id, long, 130))
        await lively.until(lambda seen: len(seen.messages) == 130, seconds=60)
        await posting

        await eventually(lambda: streams_ended(engine) == 1, seconds=8, what="dropping the reader")
        await asyncio.sleep(3 * IMPATIENT_HEARTBEAT_SECONDS)
        await ann.post(chat_id, "ещё здесь?")
        await lively.until(lambda seen: len(seen.messages) == 131)

    assert lively.connections == 1
    assert lively.stream.comments >= 2
    headers = lively.stream.headers.lower()
    assert b"x-accel-buffering: no" in headers
    assert b"cache-control: no-store" in headers
    assert b"content-type: text/event-stream" in headers
    await lively.check_against_fresh_load()
    assert '"reader_dropped"' in engine.log
    assert engine.faults == []


def freeze_reader(person: Person, chat_id: str) -> socket.socket:
    """Open a stream and never read of it."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    reader.connect(("127.0.0.1", person.port))
    head = [
        f"GET {API}/chats/{chat_id}/events HTTP/1.1",
        "Host: engine",
        f"Authorization: Bearer {person.token}",
    ]
    reader.sendall("\r\n".join([*head, "", ""]).encode())
    return reader


async def post_many(person: Person, chat_id: str, content: str, count: int) -> None:
    for _ in range(count):
        await person.post(chat_id, content)


def streams_ended(engine: EngineProcess) -> int:
    """How many streams of chats have ended, by the engine's log."""
    return sum(
        '"event": "request"' in line and "/chats/{chat_id}/events" in line for line in engine.log.splitlines()
    )
