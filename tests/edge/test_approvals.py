"""Signing over HTTP, and who still reads what was rejected."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.edge.serving import Client, Stage, is_message, kind, numbered, until
from tests.unit.scripted_model import say
from tests.world import World

Api = httpx2.AsyncClient
SECRET = "Секретный вывод."


async def read_by(client: Client, chat_id: str) -> str:
    """Return everything that a person is told of a chat: history, approvals, and the replayed log."""
    history = await client.call("GET", f"/chats/{chat_id}/messages")
    listed = await client.call("GET", "/approvals?status=all")
    told = []
    for path in (f"/chats/{chat_id}/events", "/events"):
        stream = await client.follow(path, last_event_id=0)
        last = await client.post(chat_id, "метка")
        events = await until(stream, is_message(last["message"]["id"]))
        told += [event.data for event in numbered(events)]
        stream.close()
    return json.dumps([history, listed, told], ensure_ascii=False)


async def test_a_rejected_text_is_gone_for_all_but_the_asker_and_the_approvers(stage: Stage) -> None:
    stage.script(say(SECRET))
    firm = await stage.world.organization()
    admin = await stage.enter(firm.admin)
    asker = await stage.enter(await stage.world.user(firm, "anna"))
    member = await stage.enter(await stage.world.user(firm, "mike"))
    chat_id = await asker.open_chat(member, admin)
    live = {
        client.person.username: await client.follow(f"/chats/{chat_id}/events") for client in (asker, member)
    }
    (run,) = (await asker.post(chat_id, "@@lawyer, что?"))["runs"]
    for stream in live.values():
        await until(stream, kind("run.completed"))

    verdict = {"verdict": "reject", "comment": "Секретный вывод неверен."}
    signed = await asker.call("POST", f"/messages/{run['answer_id']}/validation", verdict)

    assert (signed["content"], signed["is_withdrawn"], signed["validation"]["status"]) == (
        SECRET,
        True,
        "rejected",
    )
    for stream in live.values():
        heard = (await until(stream, kind("message.validated")))[-1]
        assert heard.data["status"] == "rejected"
        assert "Секретный" not in json.dumps(heard.data, ensure_ascii=False)
    assert "Секретный" not in await read_by(member, chat_id)
    for client in (asker, admin):
        page = await client.call("GET", f"/chats/{chat_id}/messages")
        answer = next(one for one in page["items"] if one["id"] == run["answer_id"])
        assert (answer["content"], answer["validation"]["comment"]) == (SECRET, verdict["comment"])
    page = await member.call("GET", f"/chats/{chat_id}/messages")
    line = next(one for one in page["items"] if one["id"] == run["answer_id"])
    assert (line["content"], line["is_withdrawn"], line["validation"]["status"]) == ("", True, "rejected")


async def test_a_rejected_text_is_not_told_by_its_run_either(stage: Stage) -> None:
    stage.script(say(SECRET))
    firm = await stage.world.organization()
    asker, member = await stage.enter(firm.admin), await stage.enter(await stage.world.user(firm, "mike"))
    chat_id = await asker.open_chat(member)
    (run,) = (await asker.post(chat_id, "@@lawyer, что?"))["runs"]
    await stage.rest()
    await asker.call("POST", f"/messages/{run['answer_id']}/validation", {"verdict": "reject"})

    stream = await member.follow(f"/runs/{run['id']}/events")
    told = [event.data async for event in stream.events()]

    assert "Секретный" not in json.dumps(told, ensure_ascii=False)


async def test_an_edit_is_heard_live_with_both_texts(stage: Stage) -> None:
    stage.script(say("Исходный."))
    firm = await stage.world.organization()
    asker, member = await stage.enter(firm.admin), await stage.enter(await stage.world.user(firm, "mike"))
    chat_id = await asker.open_chat(member)
    stream = await member.follow(f"/chats/{chat_id}/events")
    (run,) = (await asker.post(chat_id, "@@lawyer, что?"))["runs"]
    await until(stream, kind("run.completed"))

    body = {"verdict": "edit", "content": "Правленый."}
    signed = await asker.call("POST", f"/messages/{run['answer_id']}/validation", body)
    heard = (await until(stream, kind("message.validated")))[-1]

    assert heard.data["message"] == signed
    assert (signed["content"], signed["ai_validated"]) == ("Правленый.", True)
    assert (signed["validation"]["status"], signed["validation"]["original"]) == ("edited", "Исходный.")
    assert signed["validation"]["decided_by"] == asker.id
    stream.close()
    resumed = await member.follow(f"/chats/{chat_id}/events", last_event_id=heard.no - 1 if heard.no else 0)
    again = (await until(resumed, kind("message.validated")))[-1]
    assert again.data == heard.data


async def test_of_thirty_signatures_one_counts_and_29_get_409_with_the_outcome(
    api: Api, world: World
) -> None:
    firm = await world.organization()
    message_id = await world.draft(firm.admin, await world.chat(firm.admin))
    headers = await world.headers(firm.admin)
    bodies = [{"verdict": "approve"}, {"verdict": "reject"}, {"verdict": "edit", "content": "Иначе."}]

    answers = await asyncio.gather(
        *(
            api.post(f"/messages/{message_id}/validation", json=bodies[n % 3], headers=headers)
            for n in range(30)
        )
    )

    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    lost = [answer for answer in answers if answer.status_code == 409]
    assert len(lost) == 29
    for answer in lost:
        assert answer.json()["code"] == "already_validated"
        assert answer.json()["status_now"] == won["validation"]["status"]
        assert answer.json()["decided_by"] == str(firm.admin.id)


async def test_who_may_not_sign_is_told_so_and_outsiders_are_told_nothing(api: Api, world: World) -> None:
    firm = await world.organization()
    asker, member, outsider = [await world.user(firm) for _ in range(3)]
    message_id = await world.draft(asker, await world.chat(asker, member))

    answers = {
        name: await api.post(
            f"/messages/{message_id}/validation",
            json={"verdict": "approve"},
            headers=await world.headers(person),
        )
        for name, person in (("outsider", outsider), ("member", member), ("asker", asker))
    }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "outsider": 404,
        "member": 403,
        "asker": 200,
    }
    assert answers["member"].json()["code"] == "not_an_approver"
    assert answers["outsider"].json()["code"] == "draft_not_found"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdict": "maybe"},
        {"verdict": None},
        {"verdict": "edit"},
        {"verdict": "edit", "content": ""},
        {"verdict": "edit", "content": " \n"},
        {"verdict": "edit", "content": "я" * 32_001},
        {"verdict": "edit", "content": 5},
        {"verdict": "reject", "comment": "я" * 4_001},
        {"verdict": ["approve"]},
        [],
    ],
)
async def test_a_signature_that_makes_no_sense_is_refused_and_decides_nothing(
    api: Api, world: World, body: Any
) -> None:
    firm = await world.organization()
    message_id = await world.draft(firm.admin, await world.chat(firm.admin))
    headers = await world.headers(firm.admin)

    answer = await api.post(f"/messages/{message_id}/validation", json=body, headers=headers)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    pending = (await api.get("/approvals", headers=headers)).json()
    assert [one["message"]["id"] for one in pending["items"]] == [str(message_id)]


async def test_approvals_are_paged_by_status(api: Api, world: World) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    drafts = [str(await world.draft(firm.admin, chat_id, f"{n}")) for n in range(5)]
    headers = await world.headers(firm.admin)
    for message_id, verdict in zip(drafts, ("approve", "reject"), strict=False):
        await api.post(f"/messages/{message_id}/validation", json={"verdict": verdict}, headers=headers)

    async def listed(status: str, limit: int) -> list[str]:
        found, cursor = [], None
        while True:
            query: dict[str, Any] = {"status": status, "limit": limit}
            if cursor:
                query["cursor"] = cursor
            page = (await api.get("/approvals", params=query, headers=headers)).json()
            assert "items" in page, page
            found += [one["message"]["id"] for one in page["items"]]
            assert len(page["items"]) <= limit
            if (cursor := page["next_cursor"]) is None:
                return found

    assert await listed("pending", 2) == await listed("pending", 100) == drafts[:1:-1]
    assert await listed("approved", 1) == [drafts[0]]
    assert await listed("rejected", 1) == [drafts[1]]
    assert await listed("all", 2) == drafts[::-1]
    assert await listed("superseded", 2) == []
