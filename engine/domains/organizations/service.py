"""What can be done about an organization."""

from collections.abc import Collection

from engine.core.database import Transaction
from engine.core.text import one_line
from engine.domains import audit, users
from engine.domains.organizations import repository
from engine.domains.organizations.errors import (
    InstructionInvalid,
    OrganizationNameInvalid,
    OrganizationNotFound,
    RoleUnknown,
    SlugTaken,
)
from engine.domains.organizations.models import Organization, RoleSetting
from engine.domains.organizations.slugs import slugs_of
from engine.domains.users import Actor, User

_LONGEST_NAME = 200
_LONGEST_INSTRUCTION = 8000


async def register(
    tx: Transaction,
    *,
    name: str,
    username: str,
    email: str,
    display_name: str,
    password_hash: str,
    locale: str = "ru",
    timezone: str = "Europe/Moscow",
) -> tuple[Organization, User]:
    """Make an organization and its first admin; `tx` sees a new organization, as `Registration` gives it."""
    organization = await _insert(tx, _a_name(name))
    await repository.insert_event_counter(tx)
    admin = await users.add_first_admin(
        tx,
        username=username,
        email=email,
        display_name=display_name,
        password_hash=password_hash,
        locale=locale,
        timezone=timezone,
    )
    await audit.record(
        tx,
        actor_id=admin.id,
        action="organization.registered",
        subject_id=organization.id,
        slug=organization.slug,
    )
    return organization, admin


async def current(tx: Transaction) -> Organization:
    """Return the organization that this transaction sees."""
    organization = await repository.find_organization(tx)
    if organization is None:
        raise OrganizationNotFound
    return organization


async def current_with_roles(tx: Transaction) -> tuple[Organization, dict[str, RoleSetting]]:
    """Return the organization together with its `role_settings`, in one query."""
    found = await repository.find_with_roles(tx)
    if found is None:
        raise OrganizationNotFound
    return found


async def rename(tx: Transaction, actor: Actor, *, name: str) -> Organization:
    """Change the organization's name; its slug stays, as people sign in with it."""
    users.require_admin(actor)
    organization = await repository.rename_organization(tx, name=_a_name(name))
    if organization is None:
        raise OrganizationNotFound
    await audit.record(
        tx,
        actor_id=actor.user_id,
        action="organization.renamed",
        subject_id=organization.id,
        name=organization.name,
    )
    return organization


async def role_settings(tx: Transaction) -> dict[str, RoleSetting]:
    """Return what the organization ever set about roles; a role that is not here has the defaults."""
    return await repository.role_settings(tx)


async def set_role(
    tx: Transaction,
    actor: Actor,
    *,
    code: str,
    known: Collection[str],
    enabled: bool | None = None,
    instruction: str | None = None,
) -> RoleSetting:
    """Switch a role on or off, or add an instruction to it; None leaves a thing as it is."""
    users.require_admin(actor)
    if code not in known:
        raise RoleUnknown(code)
    if instruction is not None and (len(instruction) > _LONGEST_INSTRUCTION or "\0" in instruction):
        raise InstructionInvalid
    setting = await repository.set_role(tx, role_code=code, enabled=enabled, instruction=instruction)
    await audit.record(
        tx,
        actor_id=actor.user_id,
        action="role.set",
        role=code,
        enabled=setting.enabled,
        has_instruction=bool(setting.instruction),
    )
    return setting


async def _insert(tx: Transaction, name: str) -> Organization:
    for slug in slugs_of(name):
        organization = await repository.insert_organization(tx, name=name, slug=slug)
        if organization is not None:
            return organization
    raise SlugTaken


def _a_name(text: str) -> str:
    name = one_line(text, longest=_LONGEST_NAME)
    if name is None:
        raise OrganizationNameInvalid
    return name
