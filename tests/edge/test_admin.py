"""What administrators see and may do, and nobody else."""

import httpx2
import pytest

from tests.edge.conftest import Parts
from tests.edge.test_auth import NEW, bearer
from tests.world import PASSWORD, Firm, World

Api = httpx2.AsyncClient


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


@pytest.mark.parametrize("path", ["/admin/runs", "/admin/models"])
async def test_the_engine_room_is_for_admins(api: Api, world: World, firm: Firm, path: str) -> None:
    user = await world.headers(await world.user(firm))

    refused = await api.get(path, headers=user)

    assert (refused.status_code, refused.json()["code"]) == (403, "admins_only")
    assert (await api.get(path, headers=await world.headers(firm.admin))).status_code == 200


async def test_admins_see_what_works_and_waits_in_their_organization_and_no_other(
    api: Api, world: World, firm: Firm
) -> None:
    ivan = await world.user(firm, "ivan")
    other = await world.organization("Лютик")
    await world.ask(other.admin, await world.chat(other.admin))
    chat_id = await world.chat(ivan)
    working = await world.ask(ivan, chat_id)
    await world.claim(worker="worker-7")
    waiting = [await world.ask(ivan, chat_id) for _ in range(2)]

    listed = (await api.get("/admin/runs", headers=await world.headers(firm.admin))).json()["items"]

    assert [run["id"] for run in listed] == [str(run.id) for run in (working, *waiting)]
    assert [run["worker"] for run in listed] == ["worker-7", None, None]
    assert {run["asker_id"] for run in listed} == {str(ivan.id)}


async def test_admins_stop_a_run_of_a_chat_that_they_are_not_in(api: Api, world: World, firm: Firm) -> None:
    ivan, vera = await world.user(firm, "ivan"), await world.user(firm, "vera")
    run = await world.ask(ivan, await world.chat(ivan))
    admin, hers = await world.headers(firm.admin), await world.headers(vera)
    stop = f"/admin/runs/{run.id}/cancel"

    by_user = await api.post(stop, headers=hers)
    by_admin = await api.post(stop, headers=admin)

    assert (by_user.status_code, by_user.json()["code"]) == (403, "admins_only")
    assert by_admin.status_code == 202
    assert (await api.get(f"/runs/{run.id}", headers=await world.headers(ivan))).json()[
        "status"
    ] == "cancelled"
    assert (await api.get(f"/runs/{run.id}", headers=admin)).status_code == 404
    assert (await api.post(stop, headers=admin)).json()["code"] == "run_has_ended"


async def test_admins_see_which_model_answers_and_what_keeps_it_away(
    api: Api, world: World, firm: Firm, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {
        "ready": False,
        "provider": "ollama",
        "name": "qwen",
        "reason": "set",
        "detail": "refused at ::1",
    }
    monkeypatch.setattr(parts, "model_state", lambda: state)

    told = (await api.get("/admin/models", headers=await world.headers(firm.admin))).json()

    assert told == {**state, "workers": None}


async def test_a_lost_password_is_replaced_by_one_to_change(api: Api, world: World, firm: Firm) -> None:
    ivan = await world.user(firm, "ivan")
    his, admin = await world.headers(ivan), await world.headers(firm.admin)

    reset = await api.post(f"/users/{ivan.id}/password", headers=admin)

    temporary = reset.json()["temporary_password"]
    assert (await api.get("/auth/me", headers=his)).json()["code"] == "session_ended"
    old = await api.post("/auth/login", json={"username": "ivan", "password": PASSWORD})
    assert old.status_code == 401
    fresh = (await api.post("/auth/login", json={"username": "ivan", "password": temporary})).json()
    assert fresh["password_change_required"] is True
    assert (await api.get("/chats", headers=bearer(fresh["access_token"]))).status_code == 403


async def test_passwords_are_reset_by_admins_and_not_their_own(api: Api, world: World, firm: Firm) -> None:
    ivan = await world.user(firm, "ivan")
    his, admin = await world.headers(ivan), await world.headers(firm.admin)

    by_user = await api.post(f"/users/{firm.admin.id}/password", headers=his)
    own = await api.post(f"/users/{firm.admin.id}/password", headers=admin)

    assert (by_user.status_code, by_user.json()["code"]) == (403, "admins_only")
    assert (own.status_code, own.json()["code"]) == (409, "own_password")


async def test_the_sign_in_page_offers_registration_only_where_it_is_open(api: Api) -> None:
    before = (await api.get("/auth/policy")).json()
    await api.post("/auth/register", json=NEW)
    after = (await api.get("/auth/policy")).json()

    assert before == {"registration": True, "is_new": True, "password_min_length": 10}
    assert (after["registration"], after["is_new"]) == (False, False)


async def test_a_role_says_how_it_thinks_and_since_when(api: Api, world: World, firm: Firm) -> None:
    headers = await world.headers(firm.admin)

    first = {role["code"]: role for role in (await api.get("/roles", headers=headers)).json()["items"]}
    again = (await api.get("/roles/lawyer", headers=headers)).json()

    lawyer = first["lawyer"]
    assert "think" in lawyer["graph"]
    assert lawyer["graph"] != first["chu"]["graph"]
    assert lawyer["prompt"] == "lawyer.md"
    assert lawyer["tool_summaries"].keys() == set(lawyer["tools"])
    assert all(lawyer["tool_summaries"].values())
    assert again["known_since"] == lawyer["known_since"]
    assert again["version"] == lawyer["version"]
