"""The AI roles: what each is for. They are files, so nothing here changes them."""

from typing import Any

from fastapi import APIRouter

from engine.api.caller import Authenticated
from engine.api.views import Page, View
from engine.core.errors import NotFound
from engine.domains import organizations, users
from engine.roles import Role, RolesChanged

router = APIRouter(prefix="/roles", tags=["roles"])


class RoleNotFound(NotFound):
    code = "role_not_found"

    def __init__(self, role_code: str) -> None:
        super().__init__("There is no such role.", role=role_code[:64])


class RoleView(View):
    """A role, and what the organization has set for it."""

    code: str
    name: dict[str, str]
    description: dict[str, str]
    agent_type: str
    tools: list[str]
    members: list[str]
    limits: dict[str, int]
    validation: dict[str, Any]
    version: str
    enabled: bool
    instruction: str


class RolesReloaded(View):
    """The roles that are loaded now, and what is wrong with files that were not taken."""

    roles: list[str]
    problems: list[str]


@router.get("")
async def list_roles(caller: Authenticated) -> Page[RoleView]:
    """List every role by code."""
    async with caller.transaction() as tx:
        settings = await organizations.role_settings(tx)
    return Page(items=[_view(role, settings) for role in caller.engine.roles.all()], next_cursor=None)


@router.get("/{code}")
async def get_role(code: str, caller: Authenticated) -> RoleView:
    """Show one role."""
    role = caller.engine.roles.get(code)
    if role is None:
        raise RoleNotFound(code)
    async with caller.transaction() as tx:
        settings = await organizations.role_settings(tx)
    return _view(role, settings)


@router.post("/cache/clear")
async def reload_roles(caller: Authenticated) -> RolesReloaded:
    """Read the role files and prompts again; a broken one keeps its last good version."""
    users.require_admin(caller.actor)
    problems = caller.engine.roles.reload()
    caller.engine.database.feed.send(RolesChanged())  # Wherever runs are worked, and in other processes.
    return RolesReloaded(
        roles=[role.code for role in caller.engine.roles.all()],
        problems=[str(problem) for problem in problems],
    )


def _view(role: Role, settings: dict[str, organizations.RoleSetting]) -> RoleView:
    setting = settings.get(role.code)
    return RoleView(
        code=role.code,
        name={"ru": role.name.ru, "en": role.name.en},
        description={"ru": role.description.ru, "en": role.description.en},
        agent_type=role.agent_type,
        tools=list(role.tools),
        members=list(role.members),
        limits={"steps": role.limits.steps, "seconds": role.limits.seconds, "tokens": role.limits.tokens},
        validation={"required": role.validation.required, "approvers": list(role.validation.approvers)},
        version=role.version,
        enabled=setting is None or setting.enabled,
        instruction=setting.instruction if setting else "",
    )
