"""What can be done about people."""

from collections.abc import Iterable
from dataclasses import asdict
from uuid import UUID

from engine.core.cursor import decode_cursor, encode_cursor
from engine.core.database import Transaction
from engine.domains import audit
from engine.domains.users import names, repository
from engine.domains.users.errors import AdminsOnly, LastAdmin, OwnPassword, UserNotFound
from engine.domains.users.models import Account, Actor, User, UserAccessChanged, UserChanges, UserRole
from engine.domains.users.passwords import NewPassword, Passwords, temporary_password

MOST_AT_ONCE = 100
_ONES_OWN = {
    "display_name",
    "locale",
    "timezone",
}  # An e-mail address is a way to sign in: an admin's matter.


def require_admin(actor: Actor) -> None:
    """Raise AdminsOnly for everybody else."""
    if not actor.is_admin:
        raise AdminsOnly


async def new_temporary_password(passwords: Passwords, actor: Actor) -> NewPassword:
    """Make a password for somebody to change at their first sign-in.

    It takes a while, so it is made before a transaction is opened.
    """
    require_admin(actor)
    plain = temporary_password()
    return NewPassword(plain, await passwords.hash(plain))


async def create_user(
    tx: Transaction,
    actor: Actor,
    *,
    username: str,
    email: str,
    display_name: str,
    password: NewPassword,
    role: UserRole = "user",
    locale: str = "ru",
    timezone: str = "Europe/Moscow",
) -> User:
    """Add a person to the organization; the password is a temporary one."""
    require_admin(actor)
    user = await repository.insert_user(
        tx,
        username=names.a_username(username),
        email=names.an_email(email),
        display_name=names.a_display_name(display_name),
        role=role,
        locale=names.a_locale(locale),
        timezone=names.a_timezone(timezone),
        password_hash=password.password_hash,
        must_change_password=True,
    )
    await audit.record(
        tx,
        actor_id=actor.user_id,
        action="user.created",
        subject_id=user.id,
        username=user.username,
        role=role,
    )
    return user


async def add_first_admin(
    tx: Transaction,
    *,
    username: str,
    email: str,
    display_name: str,
    password_hash: str,
    locale: str = "ru",
    timezone: str = "Europe/Moscow",
) -> User:
    """Add the one person of a new organization who was let in by nobody."""
    if not await repository.is_empty(tx):
        raise AdminsOnly
    user = await repository.insert_user(
        tx,
        username=names.a_username(username),
        email=names.an_email(email),
        display_name=names.a_display_name(display_name),
        role="admin",
        locale=names.a_locale(locale),
        timezone=names.a_timezone(timezone),
        password_hash=password_hash,
        must_change_password=False,
    )
    await audit.record(
        tx, actor_id=user.id, action="user.registered", subject_id=user.id, username=user.username
    )
    return user


async def update_user(tx: Transaction, actor: Actor, *, user_id: UUID, changes: UserChanges) -> User:
    """Change a person; their name, locale and time zone are their own, the rest is for admins."""
    changed = {name for name, value in asdict(changes).items() if value is not None}
    if actor.user_id != user_id or not changed <= _ONES_OWN:
        require_admin(actor)
    changes = _checked(changes)
    # First all admins, then this one: whoever locks more does it in the same order.
    admins = await repository.lock_active_admins(tx) if changed & {"role", "is_active"} else set()
    before = await repository.lock_user(tx, user_id=user_id)
    if before is None:
        raise UserNotFound(user_id)
    if admins == {user_id} and (changes.role == "user" or changes.is_active is False):
        raise LastAdmin

    after = await repository.update_user(tx, user_id=user_id, changes=changes)

    if changed:
        await _record_change(tx, actor, before, after, changed)
    if (after.role, after.is_active) != (before.role, before.is_active):
        await tx.emit(UserAccessChanged(user_id))
    return after


async def get_user(tx: Transaction, *, user_id: UUID) -> User:
    """Return one person of the organization."""
    user = await repository.find_user(tx, user_id=user_id)
    if user is None:
        raise UserNotFound(user_id)
    return user


async def list_users(
    tx: Transaction, *, cursor: str | None = None, limit: int = 50
) -> tuple[list[User], str | None]:
    """Return people by username, and the cursor of the next page or None."""
    after: str = decode_cursor(cursor, after=str)["after"] if cursor else ""
    limit = max(1, min(limit, MOST_AT_ONCE))
    found = await repository.page_of_users(tx, after=after, count=limit + 1)
    page = found[:limit]
    return page, encode_cursor({"after": page[-1].username}) if len(found) > limit else None


async def by_ids(tx: Transaction, user_ids: Iterable[UUID]) -> list[User]:
    """Return those of these people who exist, in no order."""
    wanted = list(user_ids)
    return await repository.users_by_ids(tx, user_ids=wanted) if wanted else []


async def by_usernames(tx: Transaction, usernames: Iterable[str]) -> list[User]:
    """Return those of these people who exist, whatever the case of the letters, in no order."""
    wanted = list(usernames)
    return await repository.users_by_usernames(tx, usernames=wanted) if wanted else []


async def admin_ids(tx: Transaction) -> list[UUID]:
    """Return the ids of the active admins."""
    return await repository.active_admins(tx)


async def active_user(tx: Transaction, *, user_id: UUID) -> User | None:
    """Return a person who may sign in, and still may when this transaction commits; else None."""
    return await repository.lock_active_user(tx, user_id=user_id)


async def password_hash_of(tx: Transaction, *, user_id: UUID) -> str | None:
    """Return what is stored of an active person's password, or None."""
    return await repository.password_hash_of(tx, user_id=user_id)


async def reset_password(tx: Transaction, actor: Actor, *, user_id: UUID, password: NewPassword) -> User:
    """Give a person a temporary password instead of the one they have lost; their sessions end."""
    require_admin(actor)
    if user_id == actor.user_id:
        raise OwnPassword
    changed = await repository.set_temporary_password(
        tx, user_id=user_id, password_hash=password.password_hash
    )
    if not changed:
        raise UserNotFound(user_id)
    await audit.record(tx, actor_id=actor.user_id, action="user.password_reset", subject_id=user_id)
    await tx.emit(UserAccessChanged(user_id))
    return await get_user(tx, user_id=user_id)


async def replace_password(tx: Transaction, actor: Actor, *, old_hash: str, new_hash: str) -> bool:
    """Change one's own password; False when meanwhile it became another than the one checked."""
    replaced = await repository.replace_password(
        tx, user_id=actor.user_id, old_hash=old_hash, new_hash=new_hash, must_change_password=False
    )
    if replaced:
        await audit.record(
            tx, actor_id=actor.user_id, action="user.password_changed", subject_id=actor.user_id
        )
    return replaced


async def refresh_hash(tx: Transaction, *, user_id: UUID, old_hash: str, new_hash: str) -> None:
    """Keep the same password at today's costs."""
    await repository.refresh_hash(tx, user_id=user_id, old_hash=old_hash, new_hash=new_hash)


async def accounts_named(across: Transaction, *, login: str, slug: str | None, count: int) -> list[Account]:
    """Return the accounts of any organization that a username or e-mail address may mean."""
    # A username has no @ inside.
    username, email = (None, login) if "@" in login else (login, None)
    return await repository.accounts_named(across, username=username, email=email, slug=slug, count=count)


def _checked(changes: UserChanges) -> UserChanges:
    return UserChanges(
        display_name=None if changes.display_name is None else names.a_display_name(changes.display_name),
        email=None if changes.email is None else names.an_email(changes.email),
        locale=changes.locale,
        timezone=None if changes.timezone is None else names.a_timezone(changes.timezone),
        role=changes.role,
        is_active=changes.is_active,
    )


async def _record_change(tx: Transaction, actor: Actor, before: User, after: User, changed: set[str]) -> None:
    action = "user.changed"
    if before.is_active != after.is_active:
        action = "user.activated" if after.is_active else "user.deactivated"
    await audit.record(
        tx,
        actor_id=actor.user_id,
        action=action,
        subject_id=after.id,
        changed=sorted(changed),
        role=after.role,
    )
