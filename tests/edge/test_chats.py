"""Chats over HTTP: who sees them, who changes them, and lists that go on page by page."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.world import World

Api = httpx2.AsyncClient
SOMEBODY = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


async def test_a_chat_answers_with_itself_and_is_seen_by_its_members_only(api: Api, world: World) -> None:
    firm = await world.organization()
    ivan, outsider = await world.user(firm), await world.user(firm)
    ann, his = await world.headers(firm.admin), await world.headers(ivan)

    new = {"title": "Поставка", "kind": "group", "members": [str(ivan.id)], "roles": ["lawyer"]}
    opened = await api.post("/chats", json=new, headers=ann)

    assert opened.status_code == 201
    chat = opened.json()
    assert (chat["title"], chat["kind"], chat["roles"], chat["unread"]) == (
        "Поставка",
        "group",
        ["lawyer"],
        0,
    )
    assert set(chat["members"]) == {str(firm.admin.id), str(ivan.id)}
    path = f"/chats/{chat['id']}"
    assert (await api.get(path, headers=his)).json() == chat
    assert [one["id"] for one in (await api.get("/chats", headers=his)).json()["items"]] == [chat["id"]]
    stranger = await world.headers(outsider)
    assert (await api.get(path, headers=stranger)).json()["code"] == "chat_not_found"
    assert (await api.get("/chats", headers=stranger)).json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": "  "},
        {"title": "a\x07b"},
        {"title": "a\u202eb"},
        {"title": "\u200b"},
        {"title": "x" * 201},
        {"title": 5},
        {"title": "x", "kind": "secret"},
        {"title": "x", "members": ["x"]},
        {"title": "x", "members": SOMEBODY},
        {"title": "x", "members": [SOMEBODY] * 501},
        {"title": "x", "roles": ["wizard"]},
        {"title": "x", "roles": ["x" * 65]},
        {"title": "x", "roles": [5]},
        {"title": "x", "roles": ["lawyer"] * 101},
        {"title": "x", "kind": None},
        [],
        "x",
        7,
    ],
)
async def test_a_chat_that_makes_no_sense_is_refused_and_not_stored(
    api: Api, world: World, body: Any
) -> None:
    headers = await world.headers((await world.organization()).admin)

    answer = await api.post("/chats", json=body, headers=headers)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (await api.get("/chats", headers=headers)).json()["items"] == []


async def test_chats_are_listed_the_most_recently_used_first_and_page_by_page(api: Api, world: World) -> None:
    firm = await world.organization()
    ivan = await world.user(firm)
    headers = await world.headers(firm.admin)
    chat_ids = [str(await world.chat(firm.admin, ivan)) for _ in range(5)]
    await world.post(ivan, (await world.chat(ivan)), "не наш")
    for n in (2, 0, 4):
        posted = await api.post(
            f"/chats/{chat_ids[n]}/messages", json={"content": "x"}, headers=await world.headers(ivan)
        )
        assert posted.status_code == 201

    async def listed(limit: int) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        query: dict[str, Any] = {"limit": limit}
        while True:
            page = await api.get("/chats", params=query, headers=headers)
            assert page.status_code == 200
            found += [(one["id"], one["unread"]) for one in page.json()["items"]]
            if page.json()["next_cursor"] is None:
                return found
            query["cursor"] = page.json()["next_cursor"]

    wanted = [(chat_ids[n], unread) for n, unread in ((4, 1), (0, 1), (2, 1), (3, 0), (1, 0))]
    assert [await listed(limit) for limit in (1, 2, 5, 100)] == [wanted] * 4


async def test_people_come_and_go(api: Api, world: World) -> None:
    firm = await world.organization()
    ivan, olga = await world.user(firm), await world.user(firm)
    ann, his = await world.headers(firm.admin), await world.headers(ivan)
    path = f"/chats/{await world.chat(firm.admin)}"

    added = await api.post(f"{path}/members", json={"members": [str(ivan.id), str(ivan.id)]}, headers=ann)
    assert len(added.json()["members"]) == 2
    by_member = await api.post(f"{path}/members", json={"members": [str(olga.id)]}, headers=his)
    assert len(by_member.json()["members"]) == 3
    refused = await api.delete(f"{path}/members/{olga.id}", headers=his)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_the_chat_owner")
    left = await api.delete(f"{path}/members/{ivan.id}", headers=his)
    assert (left.status_code, left.content) == (204, b"")
    again = await api.delete(f"{path}/members/{ivan.id}", headers=ann)
    assert (again.status_code, again.json()["code"]) == (404, "member_not_found")
    taken_out = await api.delete(f"{path}/members/{olga.id}", headers=ann)
    assert taken_out.json()["members"] == [str(firm.admin.id)]


async def test_people_added_by_many_at_once_are_in_the_chat_once(api: Api, world: World) -> None:
    firm = await world.organization()
    people = [await world.user(firm) for _ in range(5)]
    headers = await world.headers(firm.admin)
    path = f"/chats/{await world.chat(firm.admin)}"

    body = {"members": [str(person.id) for person in people]}
    answers = await asyncio.gather(
        *(api.post(f"{path}/members", json=body, headers=headers) for _ in range(10))
    )

    assert {answer.status_code for answer in answers} == {200}
    members = (await api.get(path, headers=headers)).json()["members"]
    assert len(members) == len(set(members)) == 6


async def test_a_chat_is_renamed_limited_and_deleted(api: Api, world: World) -> None:
    firm = await world.organization()
    headers = await world.headers(firm.admin)
    path = f"/chats/{await world.chat(firm.admin)}"

    renamed = (await api.patch(path, json={"title": "Новое"}, headers=headers)).json()
    limited = (await api.patch(path, json={"roles": ["hr"]}, headers=headers)).json()
    opened = (await api.patch(path, json={"roles": []}, headers=headers)).json()
    unknown = await api.patch(path, json={"roles": ["wizard"]}, headers=headers)
    deleted = await api.delete(path, headers=headers)

    assert (renamed["title"], renamed["roles"]) == ("Новое", [])
    assert (limited["title"], limited["roles"], opened["roles"]) == ("Новое", ["hr"], [])
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_role")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for call in (api.get(path, headers=headers), api.delete(path, headers=headers)):
        assert (await call).status_code == 404
