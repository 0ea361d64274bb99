"""The tables of organizations and their role settings."""

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.organizations.models import Organization, RoleSetting

SQL = load(__file__)


async def insert_organization(tx: Transaction, *, name: str, slug: str) -> Organization | None:
    """Add the transaction's organization, or return None when the slug is taken."""
    row = await tx.maybe(SQL.insert_organization, name=name, slug=slug)
    return Organization(**row) if row else None


async def insert_event_counter(tx: Transaction) -> None:
    """Begin the organization's event log."""
    await tx.run(SQL.insert_event_counter)


async def find_organization(tx: Transaction) -> Organization | None:
    """Return the transaction's organization, or None."""
    row = await tx.maybe(SQL.find_organization)
    return Organization(**row) if row else None


async def find_with_roles(tx: Transaction) -> tuple[Organization, dict[str, RoleSetting]] | None:
    """Return the transaction's organization with what it ever set about roles, or None."""
    rows = await tx.all(SQL.find_with_roles)
    if not rows:
        return None
    settings = {
        row["role_code"]: RoleSetting(row["enabled"], row["instruction"]) for row in rows if row["role_code"]
    }
    first = rows[0]
    return Organization(first["id"], first["name"], first["slug"], first["created_at"]), settings


async def rename_organization(tx: Transaction, *, name: str) -> Organization | None:
    """Change its name, not its slug."""
    row = await tx.maybe(SQL.rename_organization, name=name)
    return Organization(**row) if row else None


async def is_any_organization(across: Transaction) -> bool:
    """Tell whether there is an organization at all."""
    return bool((await across.one(SQL.is_any_organization))["found"])


async def take_registration_turn(across: Transaction) -> None:
    """Wait until nobody else registers; the turn ends with the transaction."""
    await across.all(SQL.take_registration_turn)


async def role_settings(tx: Transaction) -> dict[str, RoleSetting]:
    """Return what was ever set, by role code."""
    rows = await tx.all(SQL.role_settings)
    return {row["role_code"]: RoleSetting(row["enabled"], row["instruction"]) for row in rows}


async def set_role(
    tx: Transaction, *, role_code: str, enabled: bool | None, instruction: str | None
) -> RoleSetting:
    """Change what is given."""
    row = await tx.one(SQL.set_role, role_code=role_code, enabled=enabled, instruction=instruction)
    return RoleSetting(**row)
