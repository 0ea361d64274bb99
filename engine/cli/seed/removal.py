"""Removes an organization with all its rows, which the application itself may not do."""

from uuid import UUID

import asyncpg

from engine.core.errors import Conflict
from engine.core.sql import Statement, load

SQL = load(__file__)
LOCK_SECONDS = 10


class RemovalRefused(Conflict):
    """The organization is not the one that may be removed, or its tables cannot be put in order."""

    code = "removal_refused"


async def remove_organization(owner_url: str, org_id: UUID, *, slug: str) -> int:
    """Delete a seeded organization in one transaction; return how many rows it had."""
    connection = await asyncpg.connect(owner_url, timeout=10)
    try:
        # Before anything is gone, so that a running engine lets its people's streams end.
        async with connection.transaction():
            await _see_only(connection, org_id)
            await _require_ours(connection, org_id, slug)
            await connection.execute(SQL.end_sessions.text)
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            await _see_only(connection, org_id)
            await _require_ours(connection, org_id, slug)
            return await _delete_everything(connection, org_id)
    finally:
        await connection.close()


async def _see_only(connection: asyncpg.Connection, org_id: UUID) -> None:
    # The fence holds for an owner that is no superuser, and then it guards this deletion too.
    await connection.execute("SELECT set_config('app.org_id', $1, true)", str(org_id))


async def _require_ours(connection: asyncpg.Connection, org_id: UUID, slug: str) -> None:
    found = await _value(connection, SQL.lock_organization, org_id=org_id)
    marked = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM audit_log WHERE org_id = $1 AND action = 'seed.created')", org_id
    )
    if found != slug or not marked:
        raise RemovalRefused("Only the organization that `rugpt seed` made is removed.")


async def _delete_everything(connection: asyncpg.Connection, org_id: UUID) -> int:
    rows = await connection.fetch(SQL.tables_of_an_organization.text)
    removed = 0
    for name in in_order_of_removal({row["name"]: set(row["points_to"]) for row in rows}):
        # The name comes from the catalog, quoted where it has to be.
        status = await connection.execute(f"DELETE FROM {name} WHERE org_id = $1", org_id)  # noqa: S608
        removed += int(status.rpartition(" ")[2])
    await connection.execute("DELETE FROM organizations WHERE id = $1", org_id)
    return removed + 1


def in_order_of_removal(points_to: dict[str, set[str]]) -> list[str]:
    """Return tables so that each comes before those it points to; raise RemovalRefused for a circle."""
    left = dict(points_to)
    order: list[str] = []
    while left:
        pointed_at = set().union(*left.values())
        free = sorted(left.keys() - pointed_at)
        if not free:
            raise RemovalRefused(f"These tables point at one another in a circle: {', '.join(sorted(left))}.")
        order += free
        for name in free:
            del left[name]
    return order


async def _value(connection: asyncpg.Connection, statement: Statement, **values: object) -> object:
    return await connection.fetchval(statement.text, *statement.arguments(values))
