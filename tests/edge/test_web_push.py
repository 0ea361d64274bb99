"""A browser is pushed to as long as somebody is signed in there, and no longer."""

import json
from typing import Any

import httpx2
import pytest

from engine.domains import sessions
from engine.domains.notifications import Note
from tests.contracts.test_web_push import SubscribedBrowser
from tests.edge.conftest import Parts
from tests.postal import KeepingCourier, eventually, office, working
from tests.world import Firm, Person, World

ENDPOINT = "https://push.example/send/AbCdEf0123"


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


@pytest.fixture
async def ivan(world: World, firm: Firm) -> Person:
    return await world.user(firm, "ivan")


@pytest.fixture(autouse=True)
def _pushes(parts: Parts) -> None:
    parts.office = office("web_push")


async def signed_in(world: World, person: Person) -> tuple[sessions.SignedIn, dict[str, str]]:
    session = await world.sign_in(person)
    return session, {"Authorization": f"Bearer {session.access_token}"}


async def subscribe(
    api: httpx2.AsyncClient, headers: dict[str, str], expect: int = 201, **change: Any
) -> Any:
    body = {"endpoint": ENDPOINT, "keys": SubscribedBrowser().keys, "expirationTime": None, **change}
    answer = await api.post("/notifications/push", json=body, headers=headers)
    assert answer.status_code == expect, answer.text
    return answer.json()


async def kinds(api: httpx2.AsyncClient, headers: dict[str, str]) -> list[str]:
    listed = (await api.get("/notifications/channels", headers=headers)).json()["items"]
    return [channel["kind"] for channel in listed]


async def test_a_mention_is_pushed_to_the_browser(
    api: httpx2.AsyncClient, world: World, firm: Firm, ivan: Person, parts: Parts
) -> None:
    _, his = await signed_in(world, ivan)
    keys = SubscribedBrowser().keys
    channel = await subscribe(api, his, keys=keys)
    push = KeepingCourier(kind="web_push")

    async with working(parts.database, push):
        await world.post(firm.admin, await world.chat(firm.admin, ivan), "@ivan, посмотри")
        await eventually(lambda: bool(push.notes))

    (note,) = push.notes
    assert isinstance(note, Note)
    assert (note.address, json.loads(note.signing_key or b"")) == (ENDPOINT, keys)
    assert channel["address"] == "push.example"
    assert channel["carries"] == ["mention", "draft"]


async def test_nothing_is_pushed_where_nobody_is_signed_in_any_more(
    api: httpx2.AsyncClient, world: World, firm: Firm, ivan: Person, parts: Parts
) -> None:
    chat_id = await world.chat(firm.admin, ivan)
    _, gone = await signed_in(world, ivan)
    _, here = await signed_in(world, ivan)
    await subscribe(api, gone)
    await subscribe(api, here, endpoint="https://push.example/send/here")
    push = KeepingCourier(kind="web_push")

    await api.post("/auth/logout", headers=gone)
    async with working(parts.database, push):
        await world.post(firm.admin, chat_id, "@ivan, посмотри")
        await eventually(lambda: bool(push.notes))

    assert [note.address for note in push.notes] == ["https://push.example/send/here"]
    assert (await kinds(api, here)).count("web_push") == 1


async def test_the_same_browser_after_a_new_sign_in_keeps_what_was_set(
    api: httpx2.AsyncClient, world: World, ivan: Person
) -> None:
    _, first = await signed_in(world, ivan)
    channel = await subscribe(api, first)
    await api.patch(f"/notifications/channels/{channel['id']}", json={"carries": ["draft"]}, headers=first)
    await api.post("/auth/logout", headers=first)
    _, second = await signed_in(world, ivan)
    assert "web_push" not in await kinds(api, second)

    renewed = await subscribe(api, second)

    assert (renewed["id"], renewed["carries"]) == (channel["id"], ["draft"])
    assert (await kinds(api, second)).count("web_push") == 1


async def test_a_forgotten_session_leaves_no_browser_behind(
    api: httpx2.AsyncClient, world: World, ivan: Person, parts: Parts
) -> None:
    _, gone = await signed_in(world, ivan)
    await subscribe(api, gone)
    await api.post("/auth/logout", headers=gone)

    assert await sessions.forget_old_sessions(parts.database, days=0) == 1

    _, here = await signed_in(world, ivan)
    assert "web_push" not in await kinds(api, here)


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://push.example/send"},
        {"endpoint": "https://user@push.example/send"},
        {"endpoint": "javascript:alert(1)"},
        {"endpoint": ""},
        {"keys": {"p256dh": "AAAA", "auth": "AAAAAAAAAAAAAAAAAAAAAA"}},
        {"keys": {**SubscribedBrowser().keys, "auth": "AAAA"}},
        {"keys": {**SubscribedBrowser().keys, "auth": "é"}},
        {"keys": {**SubscribedBrowser().keys, "p256dh": "B" * 5000}},
    ],
)
async def test_what_no_browser_gives_is_refused(
    api: httpx2.AsyncClient, world: World, ivan: Person, change: dict[str, Any]
) -> None:
    _, his = await signed_in(world, ivan)

    await subscribe(api, his, expect=422, **change)

    assert "web_push" not in await kinds(api, his)


async def test_a_browser_subscribes_itself_and_is_not_added_by_hand(
    api: httpx2.AsyncClient, world: World, ivan: Person
) -> None:
    _, his = await signed_in(world, ivan)

    by_hand = await api.post(
        "/notifications/channels", json={"kind": "web_push", "address": ENDPOINT}, headers=his
    )

    assert (by_hand.status_code, by_hand.json()["code"]) == (422, "channel_address_invalid")
    assert (await api.get("/notifications/push", headers=his)).json() == {"public_key": "BNone"}
