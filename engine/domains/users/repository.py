"""The table of people."""

from uuid import UUID

import asyncpg

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.users.errors import EmailTaken, UsernameTaken
from engine.domains.users.models import Account, User, UserChanges

SQL = load(__file__)


async def insert_user(
    tx: Transaction,
    *,
    username: str,
    email: str,
    display_name: str,
    role: str,
    locale: str,
    timezone: str,
    password_hash: str,
    must_change_password: bool,
) -> User:
    """Add a person."""
    try:
        row = await tx.one(
            SQL.insert_user,
            username=username,
            email=email,
            display_name=display_name,
            role=role,
            locale=locale,
            timezone=timezone,
            password_hash=password_hash,
            must_change_password=must_change_password,
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken(error) from None
    return User(**row)


async def is_empty(tx: Transaction) -> bool:
    """Tell whether the organization has no people yet."""
    return bool((await tx.one(SQL.count_users))["number"] == 0)


async def find_user(tx: Transaction, *, user_id: UUID) -> User | None:
    """Return a person, or None."""
    row = await tx.maybe(SQL.find_user, user_id=user_id)
    return User(**row) if row else None


async def lock_user(tx: Transaction, *, user_id: UUID) -> User | None:
    """Return a person whom nobody else changes before the commit, or None."""
    row = await tx.maybe(SQL.lock_user, user_id=user_id)
    return User(**row) if row else None


async def lock_active_user(tx: Transaction, *, user_id: UUID) -> User | None:
    """Return a person who may sign in and still may at the commit, or None."""
    row = await tx.maybe(SQL.lock_active_user, user_id=user_id)
    return User(**row) if row else None


async def lock_active_admins(tx: Transaction) -> set[UUID]:
    """Return those who are admins, and still are at the commit unless we change it."""
    return {row["id"] for row in await tx.all(SQL.lock_active_admins)}


async def active_admins(tx: Transaction) -> list[UUID]:
    """Return those who are admins now."""
    return [row["id"] for row in await tx.all(SQL.active_admins)]


async def users_by_ids(tx: Transaction, *, user_ids: list[UUID]) -> list[User]:
    """Return those who exist, in no order."""
    return [User(**row) for row in await tx.all(SQL.users_by_ids, user_ids=user_ids)]


async def users_by_usernames(tx: Transaction, *, usernames: list[str]) -> list[User]:
    """Return those who exist, in no order."""
    return [User(**row) for row in await tx.all(SQL.users_by_usernames, usernames=usernames)]


async def page_of_users(tx: Transaction, *, after: str, count: int) -> list[User]:
    """Return the people whose usernames come next."""
    return [User(**row) for row in await tx.all(SQL.page_of_users, after=after, count=count)]


async def update_user(tx: Transaction, *, user_id: UUID, changes: UserChanges) -> User:
    """Change what is given."""
    try:
        row = await tx.one(
            SQL.update_user,
            user_id=user_id,
            display_name=changes.display_name,
            email=changes.email,
            locale=changes.locale,
            timezone=changes.timezone,
            role=changes.role,
            is_active=changes.is_active,
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken(error) from None
    return User(**row)


async def password_hash_of(tx: Transaction, *, user_id: UUID) -> str | None:
    """Return what is stored of an active person's password, or None."""
    row = await tx.maybe(SQL.password_hash_of, user_id=user_id)
    return row["password_hash"] if row else None


async def set_temporary_password(tx: Transaction, *, user_id: UUID, password_hash: str) -> bool:
    """Give a person a password that they have to change; False when there is no such person."""
    changed = await tx.run(SQL.set_temporary_password, user_id=user_id, password_hash=password_hash)
    return changed == 1


async def replace_password(
    tx: Transaction, *, user_id: UUID, old_hash: str, new_hash: str, must_change_password: bool
) -> bool:
    """Change a password; False when it is no longer the old one."""
    return (
        await tx.run(
            SQL.replace_password,
            user_id=user_id,
            old_hash=old_hash,
            new_hash=new_hash,
            must_change_password=must_change_password,
        )
        == 1
    )


async def refresh_hash(tx: Transaction, *, user_id: UUID, old_hash: str, new_hash: str) -> None:
    """Store the same password at other costs."""
    await tx.run(SQL.refresh_hash, user_id=user_id, old_hash=old_hash, new_hash=new_hash)


async def accounts_named(
    across: Transaction, *, username: str | None, email: str | None, slug: str | None, count: int
) -> list[Account]:
    """Return the accounts of all organizations that a name may mean, active ones first."""
    rows = await across.all(SQL.accounts_named, username=username, email=email, slug=slug, count=count)
    return [Account(**row) for row in rows]


def _taken(error: asyncpg.UniqueViolationError) -> UsernameTaken | EmailTaken:
    return EmailTaken() if getattr(error, "constraint_name", None) == "users_email" else UsernameTaken()
