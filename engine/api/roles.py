"""The AI roles: what each is for. They are files, so nothing here changes them."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from fastapi import APIRouter

from engine.api.caller import Authenticated, Caller
from engine.api.views import Page, View
from engine.core.errors import NotFound
from engine.domains import organizations, runs, users
from engine.graphs import drawing_of
from engine.roles import Localized, Role, RolesChanged
from engine.tools import every_tool

router = APIRouter(prefix="/roles", tags=["roles"])


class RoleNotFound(NotFound):
    code = "role_not_found"

    def __init__(self, role_code: str) -> None:
        super().__init__("There is no such role.", role=role_code[:64])


class RoleStepView(View):
    """One step of a chain."""

    code: str
    name: dict[str, str]


class RoleView(View):
    """A role, and what the organization has set for it."""

    code: str
    name: dict[str, str]
    description: dict[str, str]
    agent_type: str
    prompt: str  # the name of its file
    graph: str  # how it thinks, as Mermaid text
    steps: list[RoleStepView]
    tools: list[str]
    tool_summaries: dict[str, str]
    members: list[str]
    limits: dict[str, int]
    validation: dict[str, Any]
    version: str
    known_since: datetime  # when this version was first seen, so when the role last changed
    enabled: bool
    instruction: str


class RolesReloaded(View):
    """The roles that are loaded now, and what is wrong with files that were not taken."""

    roles: list[str]
    problems: list[str]


@router.get("")
async def list_roles(caller: Authenticated) -> Page[RoleView]:
    """List every role by code."""
    return Page(items=await _views(caller, caller.engine.roles.all()), next_cursor=None)


@router.get("/{code}")
async def get_role(code: str, caller: Authenticated) -> RoleView:
    """Show one role."""
    role = caller.engine.roles.get(code)
    if role is None:
        raise RoleNotFound(code)
    (view,) = await _views(caller, [role])
    return view


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


async def _views(caller: Caller, roles: Sequence[Role]) -> list[RoleView]:
    definitions = {role.version: (role.code, role.definition) for role in roles}
    async with caller.transaction() as tx:
        settings = await organizations.role_settings(tx)
        known_since = await runs.versions_known_since(tx, definitions)
    unset = organizations.RoleSetting()
    return [_view(role, settings.get(role.code, unset), known_since[role.version]) for role in roles]


def _view(role: Role, setting: organizations.RoleSetting, known_since: datetime) -> RoleView:
    return RoleView(
        code=role.code,
        name=_both(role.name),
        description=_both(role.description),
        agent_type=role.agent_type,
        prompt=role.prompt.name,
        graph=drawing_of(role.agent_type),
        steps=[RoleStepView(code=step.code, name=_both(step.name)) for step in role.steps],
        tools=list(role.tools),
        tool_summaries={name: _summaries()[name] for name in role.tools},
        members=list(role.members),
        limits={"steps": role.limits.steps, "seconds": role.limits.seconds, "tokens": role.limits.tokens},
        validation={"required": role.validation.required, "approvers": list(role.validation.approvers)},
        version=role.version,
        known_since=known_since,
        enabled=setting.enabled,
        instruction=setting.instruction,
    )


def _both(text: Localized) -> dict[str, str]:
    return {"ru": text.ru, "en": text.en}


@cache
def _summaries() -> dict[str, str]:
    """Return the first line of what each tool tells the model."""
    registry = every_tool()
    return {name: registry[name].spec.description.partition("\n")[0] for name in sorted(registry.names)}
