"""Who hears what, and when a stream ends: membership, sessions, slow readers, and the engine's own end."""

import asyncio
import json
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from engine.api import live
from engine.core.events import Announced, AnnouncedElsewhere
from engine.domains import chats, sessions, users
from engine.domains.runs import FENCE_SHIFT, RunEvent, RunHeard
from engine.domains.users import UserChanges
from tests.edge.serving import (
    API,
    ENDS,
    WORDS,
    Client,
    Stage,
    asked,
    eventually,
    kind,
    numbered,
    to_the_end,
    until,
    words_of,
)
from tests.unit.scripted_model import say
from tests.world import Firm

TEXT = "".join(WORDS)


async def remove(stage: Stage, firm: Firm, chat_id: str, person: Client) -> None:
    async with stage.world.database.as_organization(firm.id) as tx:
        await chats.remove_member(tx, firm.admin.actor, chat_id=UUID(chat_id), user_id=person.person.id)


async def test_a_new_chat_appears_in_ones_stream_and_its_words_too(
    stage: Stage, firm: Firm, ann: Client, ivan: Client
) -> None:
    stream = await ivan.follow("/events")
    await until(stream, kind("hello"))

    chat_id = await ann.open_chat(ivan)
    run_id, _ = await asked(ann, chat_id, "@@lawyer, вот @ivan спрашивает")
    heard = await until(stream, kind("run.completed"))

    kinds = [event.kind for event in heard]
    assert kinds[0] == "chat.joined"
    assert kinds.count("mention") == 1
    assert words_of(heard, run_id) == TEXT


@pytest.mark.parametrize("seed", range(3))
async def test_words_that_the_feed_loses_are_read_from_the_rows(
    stage: Stage, ann: Client, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance, feed = Random(seed), stage.world.database.feed
    bring = feed.send
    lost: list[object] = []

    def lose(item: object) -> None:
        if isinstance(item, RunHeard) and len(lost) < 12 and chance.random() < 0.5:
            lost.append(item)
        else:
            bring(item)

    monkeypatch.setattr(feed, "send", lose)
    stage.script(say(*WORDS, *WORDS, pause=0.03))
    chat_id = await ann.open_chat()
    early = await ann.follow(f"/chats/{chat_id}/events")
    run_id, _ = await asked(ann, chat_id)
    heard = await until(early, kind("run.completed"))

    assert len(lost) >= 5
    assert words_of(heard, run_id) == TEXT + TEXT
    assert [event.kind for event in heard].count("run.snapshot") >= 1


@pytest.mark.parametrize("is_end_lost", [True, False])
async def test_last_words_that_the_feed_loses_are_told_before_the_answer(
    stage: Stage, ann: Client, monkeypatch: pytest.MonkeyPatch, is_end_lost: bool
) -> None:
    feed = stage.world.database.feed
    bring = feed.send
    heard_words = 0

    def lose(item: object) -> None:
        nonlocal heard_words
        is_word = isinstance(item, RunHeard) and item.events[-1].kind == "run.delta"
        heard_words += is_word
        is_end = isinstance(item, RunHeard) and item.events[-1].kind in ENDS
        if not (is_word and heard_words > 5) and not (is_end and is_end_lost):
            bring(item)

    monkeypatch.setattr(feed, "send", lose)
    stage.script(say(*WORDS, pause=0.03))
    chat_id = await ann.open_chat()
    of_chat = await ann.follow(f"/chats/{chat_id}/events")
    await until(of_chat, kind("hello"))
    of_post = await ann.follow(f"/chats/{chat_id}/messages", body={"content": "@@lawyer, ау"})
    heard, of_question = await until(of_chat, kind("run.completed")), await to_the_end(of_post)

    assert heard_words > 10
    for events in (heard, of_question):
        run_id = events[-1].data["run_id"]
        before = next(no for no, each in enumerate(events) if each.data.get("message", {}).get("role"))
        assert words_of(events[:before], run_id) == events[before].data["message"]["content"] == TEXT
        assert [each.kind for each in events[before:]] == ["message.created", "run.completed"]


async def test_words_read_from_rows_alone_are_completed_before_the_answer(
    stage: Stage, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = stage.world.database.feed
    bring = feed.send
    monkeypatch.setattr(feed, "send", lambda item: None if isinstance(item, RunHeard) else bring(item))
    stage.script(say(*WORDS, pause=0.03))
    chat_id = await ann.open_chat()
    run_id, _ = await asked(ann, chat_id)
    await asyncio.sleep(0.5)
    heard = await until(await ann.follow(f"/chats/{chat_id}/events"), kind("run.completed"))

    first = next(each for each in heard if each.kind == "run.snapshot")
    before = next(no for no, each in enumerate(heard) if each.kind == "message.created")
    assert 0 < len(first.data["text"]) < len(TEXT)
    assert words_of(heard[:before], run_id) == heard[before].data["message"]["content"] == TEXT


async def test_words_read_from_rows_wait_until_the_log_has_told_that_their_attempt_began(
    stage: Stage, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = stage.world.database.feed
    bring = feed.send
    heard_words = 0

    def lose_the_beginning(item: object) -> None:
        """As a relay does that has lost its connection, and has it again when the role talks."""
        nonlocal heard_words
        heard_words += isinstance(item, RunHeard) and item.events[-1].kind == "run.delta"
        if heard_words > 3 or not isinstance(item, (RunHeard, Announced)):
            bring(item)

    monkeypatch.setattr(feed, "send", lose_the_beginning)
    stage.script(say(*WORDS, *WORDS, pause=0.05))
    monkeypatch.setattr(live, "RECHECK_SECONDS", 60.0)
    chat_id = await ann.open_chat()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    await until(stream, kind("hello"))
    run_id, _ = await asked(ann, chat_id)
    heard = await until(stream, kind("run.completed"))

    kinds = [event.kind for event in heard]
    assert kinds.index("run.started") < kinds.index("run.snapshot")
    assert words_of(heard, run_id) == TEXT + TEXT


async def test_words_of_a_later_attempt_are_not_let_go_with_those_of_an_earlier_one(
    stage: Stage, firm: Firm, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [asyncio.Event(), asyncio.Event()]
    waiting = iter(looks)
    monkeypatch.setattr(stage.hub, "_read_start", lambda *_: next(waiting).wait())
    monkeypatch.setattr(live, "GAP_SECONDS", 0.0)
    chat_id, run_id, answer_id = UUID(await ann.open_chat()), uuid4(), uuid4()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    await until(stream, kind("hello"))

    def hear(kind: str, fence: int, place: int, **data: str) -> None:
        event = RunEvent((fence << FENCE_SHIFT) + place, kind, data)
        stage.world.database.feed.send(RunHeard(firm.id, chat_id, run_id, answer_id, [event]))

    hear("run.started", 1, 0)
    hear("run.restarted", 2, 0)
    hear("run.delta", 2, 1, text="дважды")
    looks[0].set()
    await asyncio.sleep(0.1)
    await ann.post(str(chat_id), "дальше")
    before = await until(stream, kind("message.created"))
    looks[1].set()
    after = await until(stream, kind("run.snapshot"))

    assert [event.kind for event in before] == ["message.created"]
    assert after[-1].data["text"] == "дважды"


async def test_a_number_that_the_log_does_not_hold_costs_one_look(
    stage: Stage, firm: Firm, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_id = await ann.open_chat()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    await until(stream, kind("hello"))
    looks = 0
    read = stage.hub._read_missed

    async def count(log_tail: Any) -> int:
        nonlocal looks
        looks += 1
        return await read(log_tail)

    monkeypatch.setattr(stage.hub, "_read_missed", count)
    stage.world.database.feed.send(AnnouncedElsewhere(firm.id, 2**40))
    await asyncio.sleep(1.5)
    await ann.post(chat_id, "дальше")
    await until(stream, kind("message.created"))

    assert 1 <= looks <= 5  # One of them is the look of every second.


async def test_a_member_who_is_removed_hears_nothing_more_at_once(
    stage: Stage, firm: Firm, ann: Client, ivan: Client
) -> None:
    stage.script(say(*WORDS, pause=0.02, forever=True))
    chat_id = await ann.open_chat(ivan)
    run_id, _ = await asked(ann, chat_id)
    of_chat, of_all = await ivan.follow(f"/chats/{chat_id}/events"), await ivan.follow("/events")
    await until(of_chat, kind("run.snapshot"))
    await until(of_all, kind("run.snapshot"))

    await remove(stage, firm, chat_id, ivan)
    await ann.post(chat_id, "тайна")
    left = await to_the_end(of_chat)
    elsewhere = await ivan.open_chat()
    await ivan.post(elsewhere, "дальше")
    heard = await until(of_all, kind("message.created"))

    assert left[-1].kind == "chat.left"
    after = [event.kind for event in heard]
    assert after[after.index("chat.left") :] == ["chat.left", "chat.joined", "message.created"]
    assert "тайна" not in json.dumps([event.data for event in [*left, *heard]], ensure_ascii=False)
    await ann.call("POST", f"/runs/{run_id}/cancel")


async def test_a_member_who_is_removed_hears_no_more_of_what_they_asked(
    stage: Stage, firm: Firm, ann: Client, ivan: Client
) -> None:
    stage.script(say(*WORDS, pause=0.02, forever=True))
    chat_id = await ann.open_chat(ivan)
    stream = await ivan.follow(f"/chats/{chat_id}/messages", body={"content": "@@lawyer, ау"})
    begun = await until(stream, kind("run.delta"))

    await remove(stage, firm, chat_id, ivan)
    rest = await to_the_end(stream, seconds=2)

    assert not {event.kind for event in rest} - {"run.delta"}
    await ann.call("POST", f"/runs/{begun[-1].data['run_id']}/cancel")


async def test_a_member_who_is_removed_hears_no_more_of_a_run(
    stage: Stage, firm: Firm, ann: Client, ivan: Client
) -> None:
    stage.script(say(*WORDS, pause=0.02, forever=True))
    chat_id = await ann.open_chat(ivan)
    run_id, _ = await asked(ann, chat_id)
    stream = await ivan.follow(f"/runs/{run_id}/events")
    await until(stream, kind("run.delta"))

    await remove(stage, firm, chat_id, ivan)
    rest = await to_the_end(stream, seconds=2)

    assert not {event.kind for event in rest} - {"run.delta"}
    await ann.call("POST", f"/runs/{run_id}/cancel")


@pytest.mark.parametrize("path", ["/chats/{chat_id}/events", "/events"])
async def test_a_member_who_is_removed_while_a_stream_opens_hears_nothing(
    stage: Stage, firm: Firm, ann: Client, ivan: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_id, elsewhere = await ann.open_chat(ivan), await ivan.open_chat()
    await ann.follow(f"/chats/{chat_id}/events")
    follow = live.Hub.follow

    async def follow_too_late(self: live.Hub, subscription: live.Subscription) -> int:
        monkeypatch.setattr(live.Hub, "follow", follow)
        await remove(stage, firm, chat_id, ivan)
        return await follow(self, subscription)

    monkeypatch.setattr(live.Hub, "follow", follow_too_late)
    headers = {"Authorization": f"Bearer {ivan.token}"}
    told = b""
    try:
        async with stage.http.stream("GET", API + path.format(chat_id=chat_id), headers=headers) as answer:
            await ann.post(chat_id, "SECRET")
            await ivan.post(elsewhere, "the end")
            async with asyncio.timeout(1.5):
                async for chunk in answer.aiter_bytes():
                    told += chunk
                    if b"the end" in told:
                        break
    except TimeoutError:
        pass  # The stream of a chat that one is not in tells nothing, or ends.

    assert b"SECRET" not in told


async def test_a_chat_that_is_deleted_ends_its_stream(ann: Client, ivan: Client) -> None:
    chat_id = await ann.open_chat(ivan)
    stream = await ivan.follow(f"/chats/{chat_id}/events")
    await until(stream, kind("hello"))

    await ann.call("DELETE", f"/chats/{chat_id}", expect=204)

    assert [event.kind for event in await to_the_end(stream)] == ["chat.deleted"]


@pytest.mark.parametrize("how", ["logout", "deactivated"])
async def test_streams_end_with_their_session(
    stage: Stage, firm: Firm, ann: Client, ivan: Client, how: str
) -> None:
    stage.script(say(*WORDS, pause=0.02, forever=True))
    chat_id = await ann.open_chat(ivan)
    run_id, _ = await asked(ann, chat_id)
    streams = [
        await ivan.follow(path) for path in ("/events", f"/chats/{chat_id}/events", f"/runs/{run_id}/events")
    ]
    other = await (await stage.enter(ivan.person)).follow("/events")
    await until(other, kind("hello"))
    for stream in streams:
        await until(stream, kind("hello", "run.started"))

    if how == "logout":
        await ivan.call("POST", "/auth/logout", expect=204)
    else:
        async with stage.world.database.as_organization(firm.id) as tx:
            await users.update_user(
                tx, firm.admin.actor, user_id=ivan.person.id, changes=UserChanges(is_active=False)
            )
        await to_the_end(other, seconds=5)

    for stream in streams:
        await to_the_end(stream, seconds=5)
    assert (await ivan.call("GET", "/chats", expect=401))["code"] == sessions.SessionOver.code
    await ann.call("POST", f"/runs/{run_id}/cancel")


async def test_a_stream_of_another_organization_or_chat_is_not_found(
    stage: Stage, ann: Client, ivan: Client
) -> None:
    other = await stage.enter((await stage.world.organization("Лютик", admin="rose")).admin)
    chat_id = await ann.open_chat()
    run_id, _ = await asked(ann, chat_id)

    for client in (other, ivan):
        assert (await client.call("GET", f"/chats/{chat_id}/events", expect=404))["code"] == "chat_not_found"
        assert (await client.call("GET", f"/runs/{run_id}/events", expect=404))["code"] == "run_not_found"
    assert stage.hub.readers == 0


async def test_a_reader_too_far_behind_is_let_go_and_resumes_without_loss(
    stage: Stage, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_WAITING", 5)
    chat_id = await ann.open_chat()
    subscription = live.Subscription(
        ann.person.org_id, ann.person.id, UUID(int=0), [UUID(chat_id), ann.person.id]
    )
    await stage.hub.follow(subscription)
    for n in range(12):
        await ann.post(chat_id, f"{n}")

    waited = await subscription.next()
    assert len(waited) == 5
    assert not subscription.is_open
    assert await subscription.next() == []
    stage.hub.leave(subscription)
    stream = await ann.follow(f"/chats/{chat_id}/events", last_event_id=waited[-1].no)
    rest = numbered(await until(stream, lambda event: event.data.get("message", {}).get("content") == "11"))
    texts = [
        each["message"]["content"] for each in (*(one.data for one in waited), *(one.data for one in rest))
    ]
    assert texts == [f"{n}" for n in range(12)]


async def test_three_hundred_readers_hear_everything_and_leave_nothing_behind(
    stage: Stage, ann: Client
) -> None:
    chat_id = await ann.open_chat()
    streams = await asyncio.gather(*(ann.follow(f"/chats/{chat_id}/events") for _ in range(300)))
    assert stage.hub.readers == 300

    run_id, _ = await asked(ann, chat_id)
    heard = await asyncio.gather(*(until(stream, kind("run.completed"), seconds=30) for stream in streams))

    assert {words_of(events, run_id) for events in heard} == {TEXT}
    for stream in streams:
        stream.close()

    async def nobody_reads() -> bool:
        return stage.hub.readers == 0

    await eventually(nobody_reads)


async def test_readers_are_asked_to_come_back_when_the_engine_ends(stage: Stage, ann: Client) -> None:
    chat_id = await ann.open_chat()
    streams = [await ann.follow(path) for path in ("/events", f"/chats/{chat_id}/events")]
    for stream in streams:
        await until(stream, kind("hello"))

    stage.hub.say_goodbye()

    for stream in streams:
        (farewell,) = await to_the_end(stream)
        assert (farewell.kind, farewell.data["retry_ms"]) == ("reconnect", 1000)


async def test_a_stream_suits_the_proxies_before_it(ann: Client) -> None:
    headers = (await ann.follow("/events")).headers.lower()

    assert b"content-type: text/event-stream" in headers
    assert b"x-accel-buffering: no" in headers
    assert b"cache-control: no-store" in headers


async def test_a_reader_is_told_that_the_engine_still_lives(
    ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.api.streams.HEARTBEAT_SECONDS", 0.05)
    stream = await ann.follow("/events")

    with pytest.raises(TimeoutError):
        await to_the_end(stream, seconds=0.5)

    assert stream.comments >= 3
