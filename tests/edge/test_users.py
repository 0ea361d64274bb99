"""The people of an organization, and the fence around them."""

import asyncio
from typing import Any

import httpx2
import pytest

from engine.domains import users
from tests.edge.conftest import Parts
from tests.world import PASSWORD, World

Api = httpx2.AsyncClient
BOB = {"username": "bob", "email": "bob@example.com", "display_name": "Боб"}


async def test_an_admin_adds_a_person(api: Api, world: World) -> None:
    headers = await world.headers((await world.organization()).admin)

    answer = await api.post("/users", json=BOB, headers=headers)

    assert answer.status_code == 201
    user = answer.json()["user"]
    assert len(answer.json()["temporary_password"]) == 24
    assert user == {
        "id": user["id"],
        **BOB,
        "role": "user",
        "is_active": True,
        "locale": "ru",
        "timezone": "Europe/Moscow",
    }
    assert (await api.get(f"/users/{user['id']}", headers=headers)).json() == user


async def test_only_admins_add_people(api: Api, world: World) -> None:
    firm = await world.organization()
    headers = await world.headers(await world.user(firm))

    answer = await api.post("/users", json=BOB, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "admins_only")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"username": "ANN"}, "username_taken"),
        ({"email": "ANN@example.com"}, "email_taken"),
        ({"username": "-bob"}, "username_invalid"),
        ({"timezone": "Mars/Base"}, "timezone_unknown"),
        ({"timezone": "../../etc/passwd"}, "timezone_unknown"),
        ({"display_name": "a\nb"}, "display_name_invalid"),
        ({"locale": "xx"}, "invalid_request"),
        ({"role": "owner"}, "invalid_request"),
        ({"is_root": True}, "invalid_request"),
    ],
)
async def test_a_person_who_cannot_be_is_refused(
    api: Api, world: World, change: dict[str, Any], code: str
) -> None:
    headers = await world.headers((await world.organization()).admin)

    answer = await api.post("/users", json={**BOB, **change}, headers=headers)

    assert answer.status_code in (409, 422)
    assert answer.json()["code"] == code
    assert len((await api.get("/users", headers=headers)).json()["items"]) == 1


async def test_people_are_listed_page_by_page(api: Api, world: World) -> None:
    firm = await world.organization()
    for name in ("Dan", "bob", "Яна", "carl"):
        await world.user(firm, name)
    headers = await world.headers(firm.admin)

    names: list[str] = []
    cursor: str | None = None
    while True:
        query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
        page = (await api.get(f"/users{query}", headers=headers)).json()
        names += [user["username"] for user in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert names == ["ann", "bob", "carl", "Dan", "Яна"]


@pytest.mark.parametrize(
    "cursor", ["x", "!!!", "e30", "eyJhZnRlciI6N30", "eyJhZnRlciI6Ilx1MDAwMCJ9", "é", "a" * 900]
)
async def test_a_bad_cursor_is_refused(api: Api, world: World, cursor: str) -> None:
    headers = await world.headers((await world.organization()).admin)

    answer = await api.get("/users", params={"cursor": cursor}, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")


async def test_another_organizations_people_are_as_unknown_as_nobody(api: Api, world: World) -> None:
    ours, theirs = await world.organization("Ours"), await world.organization("Theirs")
    stranger = await world.user(theirs, "stranger")
    headers = await world.headers(ours.admin)
    nobody = "00000000-0000-4000-8000-000000000000"

    for method, body in (("GET", None), ("PATCH", {"display_name": "Mine", "is_active": False})):
        foreign = await api.request(method, f"/users/{stranger.id}", json=body, headers=headers)
        unknown = await api.request(method, f"/users/{nobody}", json=body, headers=headers)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json()["code"] == unknown.json()["code"] == "user_not_found"
    listed = (await api.get("/users", headers=headers)).json()["items"]
    assert [user["username"] for user in listed] == ["ann"]
    theirs_now = await api.get(f"/users/{stranger.id}", headers=await world.headers(theirs.admin))
    assert theirs_now.json()["display_name"] == "Stranger"


async def test_people_change_their_own_name_and_no_more(api: Api, world: World) -> None:
    firm = await world.organization()
    bob, carl = await world.user(firm, "bob"), await world.user(firm, "carl")
    headers = await world.headers(bob)

    mine = await api.patch(
        f"/users/{bob.id}",
        json={"display_name": "Бобби", "timezone": "Asia/Omsk", "locale": "en"},
        headers=headers,
    )
    more: list[dict[str, Any]] = [{"role": "admin"}, {"email": "b@example.com"}, {"is_active": False}]
    refused = [await api.patch(f"/users/{bob.id}", json=change, headers=headers) for change in more]
    other = await api.patch(f"/users/{carl.id}", json={"display_name": "X"}, headers=headers)

    assert mine.status_code == 200
    assert (mine.json()["display_name"], mine.json()["timezone"], mine.json()["locale"]) == (
        "Бобби", "Asia/Omsk", "en",
    )  # fmt: skip
    assert [answer.status_code for answer in [*refused, other]] == [403] * 4


async def test_the_last_active_admin_stays_one(api: Api, world: World) -> None:
    firm = await world.organization()
    other = await world.user(firm, "other", role="admin")
    headers = await world.headers(firm.admin)
    await api.patch(f"/users/{other.id}", json={"is_active": False}, headers=headers)

    changes: list[dict[str, Any]] = [{"role": "user"}, {"is_active": False}]
    answers = [await api.patch(f"/users/{firm.admin.id}", json=change, headers=headers) for change in changes]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(409, "last_admin")] * 2


async def test_admins_who_demote_each_other_at_once_leave_one(api: Api, world: World) -> None:
    firm = await world.organization()
    admins = [firm.admin, *[await world.user(firm, role="admin") for _ in range(3)]]
    headers = [await world.headers(admin) for admin in admins]

    await asyncio.gather(
        *(
            api.patch(f"/users/{target.id}", json={"role": "user"}, headers=headers[place - 1])
            for place, target in enumerate(admins)
        )
    )

    async with world.database.as_organization(firm.id) as tx:
        page, _ = await users.list_users(tx)
    assert [user.role for user in page].count("admin") >= 1


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": "admin"}])
async def test_whoever_is_deactivated_or_changes_role_is_signed_out(
    api: Api, world: World, parts: Parts, change: dict[str, Any]
) -> None:
    firm = await world.organization()
    bob = await world.user(firm, "bob")
    signed_in = await world.sign_in(bob)
    heard: list[object] = []
    parts.guard.on_end(heard.append)

    await api.patch(f"/users/{bob.id}", json=change, headers=await world.headers(firm.admin))

    assert heard == [signed_in.session_id]
    refused = await api.get("/auth/me", headers={"Authorization": f"Bearer {signed_in.access_token}"})
    assert (refused.status_code, refused.json()["code"]) == (401, "session_ended")
    refreshed = await api.post("/auth/refresh", json={"refresh_token": signed_in.refresh_token})
    assert refreshed.status_code == 401
    again = await api.post("/auth/login", json={"username": "bob", "password": PASSWORD})
    assert again.status_code == (401 if "is_active" in change else 200)


async def test_an_organization_is_renamed_and_tells_its_roles(api: Api, world: World) -> None:
    firm = await world.organization("Ромашка")
    headers = await world.headers(firm.admin)

    changed = await api.patch(
        "/organizations/current",
        json={"name": "Василёк", "roles": {"lawyer": {"enabled": False, "instruction": "Коротко."}}},
        headers=headers,
    )

    body = changed.json()
    assert (body["name"], body["slug"]) == ("Василёк", "romashka")
    assert body["roles"]["lawyer"] == {"enabled": False, "instruction": "Коротко."}
    assert body["roles"]["hr"] == {"enabled": True, "instruction": ""}
    partly = await api.patch(
        "/organizations/current", json={"roles": {"lawyer": {"enabled": True}}}, headers=headers
    )
    assert partly.json()["roles"]["lawyer"] == {"enabled": True, "instruction": "Коротко."}
    assert (await api.get("/organizations/current", headers=headers)).json() == partly.json()


async def test_an_organization_is_changed_by_its_admins_wholly_or_not_at_all(api: Api, world: World) -> None:
    ours, theirs = await world.organization("Ours"), await world.organization("Theirs")
    admin = await world.headers(ours.admin)
    user = await world.headers(await world.user(ours))

    unknown = await api.patch(
        "/organizations/current", json={"name": "New", "roles": {"wizard": {"enabled": True}}}, headers=admin
    )
    refused = await api.patch("/organizations/current", json={"name": "New"}, headers=user)

    assert (unknown.status_code, unknown.json()["code"]) == (404, "role_unknown")
    assert refused.status_code == 403
    assert (await api.get("/organizations/current", headers=user)).json()["name"] == "Ours"
    other = await api.get("/organizations/current", headers=await world.headers(theirs.admin))
    assert other.json()["name"] == "Theirs"
