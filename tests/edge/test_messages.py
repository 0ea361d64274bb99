"""Posting and reading over HTTP, and everything that a message may not be."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from engine.core.cursor import encode_cursor
from tests.world import Person, World

Api = httpx2.AsyncClient


class Desk:
    """A person in a chat."""

    def __init__(self, api: Api, person: Person, chat_id: str, headers: dict[str, str]) -> None:
        self.api = api
        self.person = person
        self.chat_id = chat_id
        self.headers = headers

    @property
    def path(self) -> str:
        return f"/chats/{self.chat_id}/messages"

    async def post(self, **body: Any) -> httpx2.Response:
        return await self.api.post(self.path, json=body, headers=self.headers)

    async def history(self, **query: Any) -> httpx2.Response:
        return await self.api.get(self.path, params=query, headers=self.headers)

    async def texts(self) -> list[str]:
        return [one["content"] for one in (await self.history(limit=200)).json()["items"]]


@pytest.fixture
async def desk(api: Api, world: World) -> Desk:
    firm = await world.organization()
    headers = await world.headers(firm.admin)
    return Desk(api, firm.admin, str(await world.chat(firm.admin)), headers)


async def test_a_post_tells_what_was_understood(desk: Desk) -> None:
    answer = await desk.post(content="@@lawyer и @@nobody, и @ann", client_message_id="c1")

    told = answer.json()
    assert answer.status_code == 201
    assert [(one["kind"], one["code"]) for one in told["mentions"]] == [("user", "ann"), ("role", "lawyer")]
    assert [(run["role"], run["status"]) for run in told["runs"]] == [("lawyer", "queued")]
    assert told["ignored"] == ["nobody"]
    assert (told["message"]["no"], told["message"]["ai_validated"]) == (1, None)


async def test_twenty_posts_of_one_id_are_one_message_and_one_is_new(desk: Desk) -> None:
    await asyncio.gather(*(desk.texts() for _ in range(20)))  # Now there are connections to meet on.

    answers = await asyncio.gather(
        *(desk.post(content="@@lawyer", client_message_id="c1") for _ in range(20))
    )

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    told = [answer.json() for answer in answers]
    assert len({one["message"]["id"] for one in told}) == 1
    assert len({run["id"] for one in told for run in one["runs"]}) == 1
    assert await desk.texts() == ["@@lawyer"]


async def test_a_message_of_32000_characters_is_taken_and_one_more_is_not(desk: Desk) -> None:
    for sign in ("я", "\U0001f600"):
        assert (await desk.post(content=sign * 32_000)).status_code == 201
        assert (await desk.post(content=sign * 32_001)).status_code == 422
    assert [len(text) for text in await desk.texts()] == [32_000, 32_000]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": "  \n\u00a0\u2003"},
        {"content": None},
        {"content": 5},
        {"content": ["x"]},
        {"content": {"text": "x"}},
        {"content": "x", "client_message_id": ""},
        {"content": "x", "client_message_id": "x" * 101},
        {"content": "x", "client_message_id": 5},
        {"content": "x", "reply_to": "not an id"},
        {"content": "x", "reply_to": 7},
        {"content": " ".join(f"@user{n}" for n in range(1_000))},
        [],
        "x",
        None,
    ],
)
async def test_a_message_that_makes_no_sense_is_refused_and_not_stored(desk: Desk, body: Any) -> None:
    answer = await desk.api.post(desk.path, json=body, headers=desk.headers)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert await desk.texts() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"content": "\\ud800"}', 422),
        (b'{"content": "\\udc00x\\ud83d"}', 422),
        (b'{"content": "a\\u0000b"}', 422),
        (b'{"content": "x", "client_message_id": "\\u0000"}', 422),
        (b'{"content": "\xff"}', 422),
        (b'{"content": "x", "reply_to": 1e400}', 422),
        (b'{"content": "' + b"x" * 1_000_000 + b'"}', 413),
        (b"[" * 100_000, 422),
    ],
)
async def test_what_cannot_be_stored_is_refused(desk: Desk, body: bytes, status: int) -> None:
    answer = await desk.api.post(
        desk.path, content=body, headers={**desk.headers, "Content-Type": "application/json"}
    )

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert await desk.texts() == []


@pytest.mark.parametrize(
    "text", ["\u202eкод\u202c", "\ufeff", "\ufffe\uffff", "a\u200db", "\x01\x1b[31m", "x" + "\u0301" * 5000]
)
async def test_strange_but_storable_texts_come_back_as_they_were(desk: Desk, text: str) -> None:
    answer = await desk.post(content=text)

    assert answer.status_code == 201
    assert await desk.texts() == [text]


async def test_history_is_read_backwards_page_by_page_without_holes(desk: Desk) -> None:
    for n in range(7):
        await desk.post(content=f"{n}")
    seen: list[int] = []
    cursor = None
    while True:
        page = (await desk.history(limit=3, **({"before": cursor} if cursor else {}))).json()
        seen += [one["no"] for one in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
        await desk.post(content="meanwhile")

    assert seen == [7, 6, 5, 4, 3, 2, 1]


SOMEBODY = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
CURSORS = [
    *("x", "", "%%%", "e30", "bnVsbA", "W10", "MQ", "a" * 1_024, "я", "=" * 10, "-1"),
    encode_cursor({"no": "1"}),
    encode_cursor({"no": True}),
    encode_cursor({"no": 1.5}),
    encode_cursor({"no": None}),
    encode_cursor({"no": 2**63}),
    encode_cursor({"no": 1, "more": 1}),
    encode_cursor({"at": "2026-01-01T00:00:00+00:00"}),
    encode_cursor({"at": "2026-01-01T00:00:00", "id": SOMEBODY}),
    encode_cursor({"at": "2026-01-01T00:00:00+00:00", "id": "x"}),
    encode_cursor({"at": "yesterday", "id": SOMEBODY}),
    encode_cursor({"at": 5, "id": SOMEBODY}),
]


@pytest.mark.parametrize("cursor", CURSORS)
async def test_a_bad_cursor_is_refused(desk: Desk, cursor: str) -> None:
    answers = [
        await desk.history(before=cursor),
        await desk.api.get("/chats", params={"cursor": cursor}, headers=desk.headers),
        await desk.api.get("/approvals", params={"cursor": cursor}, headers=desk.headers),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(422, "bad_cursor")}


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
async def test_a_cursor_at_the_end_of_time_is_no_fault_of_ours(desk: Desk, moment: str) -> None:
    cursor = encode_cursor({"at": moment, "id": str(uuid4())})

    for path in ("/chats", "/approvals"):
        answer = await desk.api.get(path, params={"cursor": cursor}, headers=desk.headers)
        assert answer.status_code in (200, 422)


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 1, 2**63 - 1])
async def test_a_place_before_or_beyond_the_chat_is_no_fault(desk: Desk, number: int) -> None:
    await desk.post(content="x")

    answer = await desk.history(before=encode_cursor({"no": number}))

    assert answer.status_code == 200
    assert len(answer.json()["items"]) == (number > 1)


@pytest.mark.parametrize("limit", ["0", "-1", "201", "1" * 400, "x", "1.5", ""])
async def test_a_bad_limit_is_refused(desk: Desk, limit: str) -> None:
    assert (await desk.history(limit=limit)).status_code == 422


@pytest.mark.parametrize("up_to_no", [-1, 2**62, 10**30, "x", 1.5, [], {}])
async def test_a_bad_mark_is_refused(desk: Desk, up_to_no: Any) -> None:
    answer = await desk.api.post(
        f"/chats/{desk.chat_id}/read", json={"up_to_no": up_to_no}, headers=desk.headers
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_message_is_edited_and_deleted_by_its_author_only(api: Api, world: World) -> None:
    firm = await world.organization()
    ivan = await world.user(firm, "ivan")
    chat_id = await world.chat(firm.admin, ivan)
    message_id = (await world.post(ivan, chat_id, "моё")).message.id
    ann, author = await world.headers(firm.admin), await world.headers(ivan)

    for call in (
        api.patch(f"/messages/{message_id}", json={"content": "твоё"}, headers=ann),
        api.delete(f"/messages/{message_id}", headers=ann),
    ):
        answer = await call
        assert (answer.status_code, answer.json()["code"]) == (403, "not_the_author")
    edited = (await api.patch(f"/messages/{message_id}", json={"content": "новое"}, headers=author)).json()
    deleted = (await api.delete(f"/messages/{message_id}", headers=author)).json()

    assert (edited["content"], edited["edited_at"] is not None) == ("новое", True)
    assert (deleted["content"], deleted["is_deleted"]) == ("", True)
    history = (await api.get(f"/chats/{chat_id}/messages", headers=ann)).json()["items"]
    assert [(one["content"], one["is_deleted"]) for one in history] == [("", True)]


@pytest.mark.parametrize(
    "bad", ["x", "123", "00000000-0000-0000-0000-00000000000g", "%F0%9F%98%80", "%ED%A0%80"]
)
async def test_an_id_that_is_none_is_refused(desk: Desk, bad: str) -> None:
    for path in (f"/chats/{bad}", f"/runs/{bad}", f"/chats/{bad}/messages", f"/users/{bad}"):
        answer = await desk.api.get(path, headers=desk.headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
