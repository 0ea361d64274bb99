"""Finding what was said, paging both ways, and what a fresh load shows of runs."""

from typing import Any
from uuid import UUID

import httpx2
import pytest

from engine.domains import runs
from engine.domains.runs import ToolUse
from tests.edge.serving import Client, Stage, asked, kind, until
from tests.world import Firm, World, completed, failed

Api = httpx2.AsyncClient


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


@pytest.fixture
async def ann(world: World, firm: Firm) -> dict[str, str]:
    return await world.headers(firm.admin)


async def get(api: Api, headers: dict[str, str], path: str, **query: Any) -> Any:
    answer = await api.get(path, headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(page: dict[str, Any]) -> list[str]:
    return [message["content"] for message in page["items"]]


async def test_a_chat_is_paged_from_the_middle_in_both_directions(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    chat_id = await world.chat(firm.admin)
    for number in range(1, 31):
        await world.post(firm.admin, chat_id, f"№{number}")
    path = f"/chats/{chat_id}/messages"

    middle = await get(api, ann, path, around_no=15, limit=10)
    newer = await get(api, ann, path, after_no=20, limit=5)
    older = await get(api, ann, path, before=middle["next_cursor"], limit=5)
    end = await get(api, ann, path, after_no=28, limit=5)

    assert [message["no"] for message in middle["items"]] == [*range(20, 10, -1)]
    assert [message["no"] for message in newer["items"]] == [25, 24, 23, 22, 21]
    assert [message["no"] for message in older["items"]] == [10, 9, 8, 7, 6]
    assert [message["no"] for message in end["items"]] == [30, 29]
    assert (await get(api, ann, path, after_no=30))["items"] == []
    assert (await get(api, ann, path, around_no=1, limit=5))["next_cursor"] is None


async def test_a_page_begins_in_one_place(api: Api, world: World, firm: Firm, ann: dict[str, str]) -> None:
    chat_id = await world.chat(firm.admin)

    answer = await api.get(f"/chats/{chat_id}/messages?around_no=3&after_no=1", headers=ann)

    assert (answer.status_code, answer.json()["code"]) == (422, "two_places")


async def test_words_are_found_in_one_chat_and_in_all_of_mine(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    ivan = await world.user(firm, "ivan")
    first, second, his = await world.chat(firm.admin), await world.chat(firm.admin), await world.chat(ivan)
    await world.post(firm.admin, first, "Договоры поставки")
    await world.post(firm.admin, second, "подписали договор")
    await world.post(firm.admin, second, "просто так")
    await world.post(ivan, his, "тайный договор")

    everywhere = await get(api, ann, "/messages/search", q="договор")
    here = await get(api, ann, "/messages/search", q="договор", chat_id=str(first))
    part = await get(api, ann, "/messages/search", q="ОДПИСАЛ")

    assert texts(everywhere) == ["подписали договор", "Договоры поставки"]
    assert texts(here) == ["Договоры поставки"]
    assert texts(part) == ["подписали договор"]
    assert everywhere["next_cursor"] is here["next_cursor"] is None


async def test_what_was_taken_back_or_rejected_is_not_found(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    chat_id = await world.chat(firm.admin)
    posted = await world.post(firm.admin, chat_id, "необдуманное слово")
    draft_id = await world.draft(firm.admin, chat_id, "необдуманный ответ")
    await api.delete(f"/messages/{posted.message.id}", headers=ann)
    await api.post(f"/messages/{draft_id}/validation", json={"verdict": "reject"}, headers=ann)

    for query in ({}, {"chat_id": str(chat_id)}):
        assert texts(await get(api, ann, "/messages/search", q="необдуманн", **query)) == []


@pytest.mark.parametrize("in_one_chat", [True, False])
@pytest.mark.parametrize("bound", ["rows", "bytes"])
async def test_a_search_goes_on_where_it_stopped_until_all_is_found(
    api: Api,
    world: World,
    firm: Firm,
    ann: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    in_one_chat: bool,
    bound: str,
) -> None:
    ivan = await world.user(firm, "ivan")
    chat_id, other = await world.chat(firm.admin), await world.chat(ivan)
    for number in range(12):
        await world.post(firm.admin, chat_id, f"искомое {number}" if number % 4 == 0 else f"прочее {number}")
        await world.post(ivan, other, "искомое, но чужое")
    monkeypatch.setattr("engine.domains.chats.service._MOST_WINDOWS", 1)
    if bound == "rows":
        monkeypatch.setattr("engine.domains.chats.service._WINDOW", 3)
    else:
        monkeypatch.setattr("engine.domains.chats.repository.MOST_BYTES", 30)
    query = {"q": "искомое", "limit": 2} | ({"chat_id": str(chat_id)} if in_one_chat else {})

    found, cursor, pages = [], None, 0
    while True:
        page = await get(api, ann, "/messages/search", **query, **({"cursor": cursor} if cursor else {}))
        found += texts(page)
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None or pages > 30:
            break

    assert found == ["искомое 8", "искомое 4", "искомое 0"]
    assert 3 <= pages <= 14


@pytest.mark.parametrize("query", ["", "   ", "x" * 201])
async def test_a_search_for_nothing_is_refused(api: Api, ann: dict[str, str], query: str) -> None:
    assert (await api.get("/messages/search", params={"q": query}, headers=ann)).status_code == 422


@pytest.mark.parametrize("query", ["'; DROP TABLE messages; --", '"', "a & | b", "\\", "%", "<->", "🙂"])
async def test_whatever_is_sought_is_only_words(api: Api, world: World, firm: Firm, query: str) -> None:
    chat_id = await world.chat(firm.admin)
    await world.post(firm.admin, chat_id, f"начало {query} конец")

    page = await get(api, await world.headers(firm.admin), "/messages/search", q=query)

    assert texts(page) == [f"начало {query} конец"]


async def test_a_chat_says_how_its_last_message_begins_and_what_is_new_to_me(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    ivan = await world.user(firm, "ivan")
    chat_id, empty = await world.chat(firm.admin, ivan), await world.chat(firm.admin)
    await world.post(firm.admin, chat_id, "первое")
    await world.post(ivan, chat_id, "второе " * 100)

    chats = {chat["id"]: chat for chat in (await get(api, ann, "/chats"))["items"]}

    assert chats[str(empty)]["last_message"] is None
    told = chats[str(chat_id)]
    assert told["last_message"]["author_id"] == str(ivan.id)
    assert told["last_message"]["text"] == ("второе " * 100)[:160]
    assert (told["read_up_to_no"], told["last_message_no"], told["unread"]) == (1, 2, 1)


async def test_a_rejected_draft_is_not_told_as_a_last_message(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    chat_id = await world.chat(firm.admin)
    draft_id = await world.draft(firm.admin, chat_id, "плохой совет")
    await api.post(f"/messages/{draft_id}/validation", json={"verdict": "reject"}, headers=ann)

    last = (await get(api, ann, f"/chats/{chat_id}"))["last_message"]

    assert last == {
        "author_id": None, "role": "lawyer", "text": "", "is_deleted": False, "is_withdrawn": True
    }  # fmt: skip


async def test_a_message_is_shown_as_the_reader_may_read_it(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    ivan, olga, zoya = await world.user(firm, "ivan"), await world.user(firm), await world.user(firm, "zoya")
    chat_id = await world.chat(ivan, olga)
    draft_id = await world.draft(ivan, chat_id, "плохой совет", approvers=["zoya"])
    reject = {"verdict": "reject", "comment": "нет"}
    signed = await api.post(
        f"/messages/{draft_id}/validation", json=reject, headers=await world.headers(zoya)
    )
    assert signed.status_code == 200

    told = {
        person.username: await api.get(f"/messages/{draft_id}", headers=await world.headers(person))
        for person in (ivan, olga, zoya, firm.admin)
    }

    assert told["ivan"].json()["content"] == told["zoya"].json()["content"] == "плохой совет"
    assert told[olga.username].json()["content"] == ""
    assert told[olga.username].json()["validation"]["comment"] is None
    assert (told["ann"].status_code, told["ann"].json()["code"]) == (404, "message_not_found")


async def test_a_fresh_load_shows_who_works_and_what_can_be_tried_again(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    chat_id, other = await world.chat(firm.admin), await world.chat(firm.admin)
    broken, answered = await world.ask(firm.admin, chat_id), await world.ask(firm.admin, other)
    claims = {claim.id: claim for claim in await world.claim()}
    await world.finish(failed(claims[broken.id]), completed(claims[answered.id]))
    working = await world.ask(firm.admin, chat_id)
    await world.claim()
    waiting = await world.ask(firm.admin, chat_id)

    here = (await get(api, ann, "/runs", chat_id=str(chat_id)))["items"]
    everywhere = (await get(api, ann, "/runs"))["items"]

    assert {run["id"]: run["status"] for run in here} == {
        str(working.id): "running", str(waiting.id): "queued", str(broken.id): "failed"
    }  # fmt: skip
    assert {run["id"] for run in everywhere} == {str(working.id), str(waiting.id)}


async def test_an_answer_names_its_run_and_the_run_the_tools_it_used(
    api: Api, world: World, firm: Firm, ann: dict[str, str]
) -> None:
    chat_id = await world.chat(firm.admin)
    signed, unsigned = await world.ask(firm.admin, chat_id), await world.ask(firm.admin, chat_id, "@@hr, да?")
    claims = {claim.id: claim for claim in await world.claim()}
    use = ToolUse(0, 1, "c1", "search_messages", {"query": "срок"}, "ok", "ничего не найдено", 0.2)
    async with world.database.as_organization(firm.id) as tx:
        await runs.record_tools(tx, claims[signed.id], [use])
    await world.finish(completed(claims[signed.id], approvers=["asker"]), completed(claims[unsigned.id]))

    page = (await get(api, ann, f"/chats/{chat_id}/messages"))["items"]
    steps = (await get(api, ann, f"/runs/{signed.id}/steps"))["items"]

    told = {message["id"]: message for message in page}
    assert told[str(signed.answer_id)]["run_id"] == str(signed.id)
    assert told[str(signed.answer_id)]["validation"]["asker_id"] == str(firm.admin.id)
    assert told[str(unsigned.answer_id)]["run_id"] == str(unsigned.id)
    assert told[str(signed.message_id)]["run_id"] is None
    assert steps == [
        {"step": 1, "tool": "search_messages", "arguments": {"query": "срок"}, "outcome": "ok",
         "result": "ничего не найдено", "seconds": 0.2}
    ]  # fmt: skip


async def test_the_steps_of_a_rejected_answer_are_for_those_who_may_read_it(
    api: Api, world: World, firm: Firm
) -> None:
    olga = await world.user(firm, "olga")
    chat_id = await world.chat(firm.admin, olga)
    run = await world.ask(firm.admin, chat_id)
    (claim,) = await world.claim()
    async with world.database.as_organization(firm.id) as tx:
        await runs.record_tools(tx, claim, [ToolUse(0, 1, "c", "current_time", {}, "ok", "полдень", 0.1)])
    await world.finish(completed(claim, approvers=["asker"]))
    ann, hers = await world.headers(firm.admin), await world.headers(olga)
    await api.post(f"/messages/{run.answer_id}/validation", json={"verdict": "reject"}, headers=ann)

    assert len((await get(api, ann, f"/runs/{run.id}/steps"))["items"]) == 1
    assert (await get(api, hers, f"/runs/{run.id}/steps"))["items"] == []


async def test_the_drafts_that_wait_for_me_are_counted(api: Api, world: World, firm: Firm) -> None:
    ivan = await world.user(firm, "ivan")
    chat_id = await world.chat(ivan)
    await world.draft(ivan, chat_id, approvers=["admins"])
    draft_id = await world.draft(ivan, chat_id, approvers=["asker", "admins"])

    mine, his = await world.headers(firm.admin), await world.headers(ivan)
    before = [(await get(api, headers, "/approvals/count"))["pending"] for headers in (mine, his)]
    await api.post(f"/messages/{draft_id}/validation", json={"verdict": "approve"}, headers=mine)
    after = [(await get(api, headers, "/approvals/count"))["pending"] for headers in (mine, his)]

    assert (before, after) == ([2, 1], [1, 0])


async def test_a_stream_names_the_run_and_the_asker_live_and_when_it_is_resumed(
    stage: Stage, ann: dict[str, str]
) -> None:
    asker = await stage.enter((await stage.world.organization("Вторая")).admin)
    chat_id = await asker.open_chat()
    live = await asker.follow(f"/chats/{chat_id}/events")
    await until(live, kind("hello"))
    run_id, answer_id = await asked(asker, chat_id)

    heard = await until(live, lambda event: event.data.get("message", {}).get("id") == answer_id)
    again = await asker.follow(f"/chats/{chat_id}/events", last_event_id=0)
    resumed = await until(again, lambda event: event.data.get("message", {}).get("id") == answer_id)

    for told in (heard[-1].data["message"], resumed[-1].data["message"]):
        assert told["run_id"] == run_id
        assert told["validation"]["asker_id"] == asker.id


async def test_who_was_away_when_a_chat_was_deleted_hears_of_it_later(stage: Stage) -> None:
    firm = await stage.world.organization("Третья")
    olga = await stage.enter(firm.admin)
    ivan: Client = await stage.enter(await stage.world.user(firm, "ivan"))
    chat_id = await olga.open_chat(ivan)
    await olga.call("DELETE", f"/chats/{chat_id}", expect=204)

    back = await ivan.follow("/events", last_event_id=0)
    heard = await until(back, kind("chat.deleted"))

    assert UUID(heard[-1].data["chat_id"]) == UUID(chat_id)
