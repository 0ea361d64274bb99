"""The roles over HTTP."""

import httpx2
import pytest

from tests.edge.conftest import Parts
from tests.world import World

Api = httpx2.AsyncClient


async def test_every_role_is_listed_with_what_the_organization_has_set(api: Api, world: World) -> None:
    firm = await world.organization()
    headers = await world.headers(firm.admin)
    change = {"roles": {"hr": {"enabled": False, "instruction": "Отвечай кратко."}}}
    await api.patch("/organizations/current", json=change, headers=headers)

    listed = (await api.get("/roles", headers=await world.headers(await world.user(firm)))).json()

    roles = {role["code"]: role for role in listed["items"]}
    assert list(roles) == sorted(roles) == ["accountant", "assistant", "chu", "hr", "lawyer"]
    assert (roles["hr"]["enabled"], roles["hr"]["instruction"]) == (False, "Отвечай кратко.")
    assert (roles["lawyer"]["enabled"], roles["lawyer"]["instruction"]) == (True, "")
    assert roles["lawyer"]["name"] == {"ru": "Юрист", "en": "Lawyer"}
    assert roles["lawyer"]["validation"] == {"required": True, "approvers": ["asker", "admins"]}
    assert (await api.get("/roles/lawyer", headers=headers)).json() == roles["lawyer"]


@pytest.mark.parametrize(
    "code", ["wizard", "LAWYER", "..", "lawyer.yaml", "%2e%2e%2flawyer", "я" * 500, "%ff", " "]
)
async def test_a_role_that_is_not_there_is_not_found(api: Api, world: World, code: str) -> None:
    answer = await api.get(f"/roles/{code}", headers=await world.headers((await world.organization()).admin))

    assert answer.status_code == 404
    assert answer.json()["code"] in ("role_not_found", "route_not_found")


async def test_roles_are_read_again_by_admins_only(api: Api, world: World, parts: Parts) -> None:
    firm = await world.organization()

    refused = await api.post("/roles/cache/clear", headers=await world.headers(await world.user(firm)))
    reloaded = await api.post("/roles/cache/clear", headers=await world.headers(firm.admin))

    assert refused.status_code == 403
    assert reloaded.json() == {"roles": [role.code for role in parts.roles.all()], "problems": []}
