"""Channels and notifications over HTTP: one's own, verified, muted by a link, and refused in clear words."""

from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from engine.api.notifications import BindingView
from engine.domains.notifications import Office
from tests.edge.conftest import Parts
from tests.postal import SEAL, KeepingCourier, dead_letter, eventually, office, own_channel, working
from tests.world import Firm, Person, World


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


@pytest.fixture
async def ivan(world: World, firm: Firm) -> Person:
    return await world.user(firm, "ivan")


@pytest.fixture
async def his(world: World, ivan: Person) -> dict[str, str]:
    return await world.headers(ivan)


async def add(api: httpx2.AsyncClient, headers: dict[str, str], expect: int = 201, **channel: object) -> Any:
    answer = await api.post("/notifications/channels", json=channel, headers=headers)
    assert answer.status_code == expect, answer.text
    return answer.json()


async def test_an_address_is_proved_by_the_code_that_was_sent_to_it(
    api: httpx2.AsyncClient, parts: Parts, his: dict[str, str]
) -> None:
    mail = KeepingCourier()
    channel = (await add(api, his, kind="email", address="other@example.com"))["channel"]
    assert channel["verified_at"] is None
    path = f"/notifications/channels/{channel['id']}"

    async with working(parts.database, mail):
        await eventually(lambda: bool(mail.notes))
    untested = await api.post(f"{path}/test", headers=his)
    wrong = await api.post(f"{path}/verify", json={"code": "nonsense"}, headers=his)
    right = await api.post(f"{path}/verify", json={"code": mail.notes[0].code}, headers=his)
    again = await api.post(f"{path}/verify", json={"code": mail.notes[0].code}, headers=his)

    assert (untested.status_code, untested.json()["code"]) == (409, "channel_unverified")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "verification_code_wrong")
    assert right.status_code == 200
    assert right.json()["channel"]["verified_at"] is not None
    assert (again.status_code, again.json()["code"]) == (409, "channel_verified")
    assert (await api.post(f"{path}/test", headers=his)).status_code == 202


async def test_a_telegram_chat_is_bound_by_a_link_and_a_qr_code(
    api: httpx2.AsyncClient, parts: Parts, his: dict[str, str]
) -> None:
    parts.office.bot_name = "rugpt_bot"

    added = await add(api, his, kind="telegram")

    binding = BindingView.model_validate(added["binding"])
    assert binding.link == f"https://t.me/rugpt_bot?start={binding.code}"
    assert binding.qr_svg is not None
    assert binding.qr_svg.startswith("<svg")
    renewed = await api.post(f"/notifications/channels/{added['channel']['id']}/verify", json={}, headers=his)
    assert renewed.json()["binding"]["code"] != binding.code


async def test_a_webhooks_key_is_shown_once(api: httpx2.AsyncClient, his: dict[str, str]) -> None:
    added = await add(api, his, kind="webhook", address="https://hooks.example/rugpt")

    assert len(added["key"]) >= 40
    listed = (await api.get("/notifications/channels", headers=his)).text
    assert added["key"] not in listed
    assert "hooks.example" in listed


@pytest.mark.parametrize(
    ("channel", "status", "code"),
    [
        ({"kind": "in_app"}, 409, "channel_exists"),
        ({"kind": "email", "address": "ivan@example.com"}, 409, "channel_exists"),
        ({"kind": "email"}, 422, "channel_address_invalid"),
        ({"kind": "email", "address": "a@b\r\nBcc: c@d"}, 422, "email_invalid"),
        ({"kind": "telegram", "address": "12345"}, 422, "channel_address_invalid"),
        ({"kind": "webhook", "address": "ftp://hooks.example/"}, 422, "channel_address_invalid"),
        ({"kind": "webhook", "address": "https://a:b@hooks.example/"}, 422, "channel_address_invalid"),
        ({"kind": "webhook", "address": "https://hooks.example:8443/"}, 422, "channel_address_invalid"),
        ({"kind": "webhook", "address": "https://["}, 422, "channel_address_invalid"),
        (
            {"kind": "webhook", "address": "https://h.example", "timezone": "Mars/Base"},
            422,
            "timezone_unknown",
        ),
        ({"kind": "webhook", "address": "https://h.example", "priority": 101}, 422, "invalid_request"),
        ({"kind": "webhook", "address": "https://h.example", "carries": ["gossip"]}, 422, "invalid_request"),
        ({"kind": "pigeon"}, 422, "invalid_request"),
    ],
)
async def test_a_channel_that_makes_no_sense_is_refused(
    api: httpx2.AsyncClient, his: dict[str, str], channel: dict[str, object], status: int, code: str
) -> None:
    answer = await add(api, his, expect=status, **channel)

    assert answer["code"] == code


async def test_what_is_not_set_up_here_is_said_to_be_so(
    api: httpx2.AsyncClient, parts: Parts, his: dict[str, str]
) -> None:
    parts.office = Office(SEAL)

    answer = await add(api, his, expect=409, kind="telegram")

    assert answer["code"] == "channel_unavailable"


async def test_channels_are_changed_and_removed_but_for_the_client_itself(
    api: httpx2.AsyncClient, his: dict[str, str]
) -> None:
    client, mail = (await api.get("/notifications/channels", headers=his)).json()["items"]
    path = f"/notifications/channels/{mail['id']}"

    half = await api.patch(path, json={"quiet_from": "22:00"}, headers=his)
    whole = await api.patch(
        path, json={"quiet_from": "22:00", "quiet_until": "08:00", "carries": ["draft"]}, headers=his
    )
    gone = await api.delete(path, headers=his)
    fixed = await api.delete(f"/notifications/channels/{client['id']}", headers=his)

    assert half.json()["code"] == "quiet_hours_invalid"
    assert (whole.json()["quiet_from"], whole.json()["carries"]) == ("22:00:00", ["draft"])
    assert gone.status_code == 204
    assert fixed.json()["code"] == "channel_fixed"
    assert len((await api.get("/notifications/channels", headers=his)).json()["items"]) == 1


async def test_the_inbox_comes_in_pages_and_is_read(
    api: httpx2.AsyncClient, world: World, firm: Firm, ivan: Person, his: dict[str, str]
) -> None:
    chat_id = await world.chat(firm.admin, ivan)
    for number in range(5):
        await world.post(firm.admin, chat_id, f"@ivan, {number}")

    texts, cursor = [], None
    while True:
        page = (
            await api.get(
                "/notifications",
                params={"limit": 2, "unread": True} | ({"cursor": cursor} if cursor else {}),
                headers=his,
            )
        ).json()
        texts += [item["text"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    one = page["items"][0]["id"]

    assert texts == [f"@ivan, {number}" for number in reversed(range(5))]
    assert page["unread"] == 5
    assert (await api.post("/notifications/read", json={"ids": [one]}, headers=his)).json() == {"unread": 4}
    assert (await api.post("/notifications/read", json={}, headers=his)).json() == {"unread": 0}


async def test_the_link_under_a_letter_silences_its_channel_but_looking_at_it_does_not(
    api: httpx2.AsyncClient, parts: Parts, ivan: Person, his: dict[str, str]
) -> None:
    channel_id = await own_channel(parts.database, ivan.actor, "email")
    link = office().unsubscribe_link(org_id=ivan.org_id, channel_id=channel_id)
    assert link is not None
    path = urlsplit(link).path.removeprefix("/api/v1")

    async def carried() -> list[str]:
        items = (await api.get("/notifications/channels", headers=his)).json()["items"]
        return next(item["carries"] for item in items if item["kind"] == "email")

    looked = await api.get(path)
    assert looked.status_code == 200
    assert '<form method="post">' in looked.text
    assert await carried()

    assert (await api.post(path)).status_code == 200
    assert await carried() == []


@pytest.mark.parametrize("token", ["x", "A" * 64, "%00", "ы" * 10, "A" * 100])
async def test_a_link_that_nobody_signed_does_nothing(api: httpx2.AsyncClient, token: str) -> None:
    for method in ("GET", "POST"):
        answer = await api.request(method, f"/notifications/unsubscribe/{token}")
        assert answer.status_code in (404, 422)


async def test_only_an_admin_sees_what_was_given_up_and_everybodys_log(
    api: httpx2.AsyncClient, world: World, firm: Firm, ivan: Person, his: dict[str, str]
) -> None:
    _, delivery_id = await dead_letter(world.database, ivan.actor)
    hers = await world.headers(firm.admin)

    for path in ("/notifications/dead-letters", "/notifications/log?everybody=true"):
        assert (await api.get(path, headers=his)).status_code == 403
        (item,) = (await api.get(path, headers=hers)).json()["items"]
        assert item["user_id"] == str(ivan.id)
    assert (await api.get("/notifications/log", headers=hers)).json()["items"] == []
    (mine,) = (await api.get("/notifications/log", headers=his)).json()["items"]
    assert (mine["outcome"], mine["detail"]) == ("refused", "550 no such user")
    replay = f"/notifications/dead-letters/{delivery_id}/replay"
    assert (await api.post(replay, headers=his)).status_code == 403
    assert (await api.post(replay, headers=hers)).status_code == 204
    assert (await api.post(replay, headers=hers)).status_code == 404
