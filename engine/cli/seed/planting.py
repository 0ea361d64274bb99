"""Makes the demo organization in one transaction, so that it is there as a whole or not at all."""

from uuid import UUID, uuid4

from engine.bootstrap import Engine
from engine.cli.seed.story import ORGANIZATION, PEOPLE, ROOMS, SLUG, Colleague, Room
from engine.core.database import Database, Transaction
from engine.core.errors import Conflict
from engine.core.sql import load
from engine.domains import audit, chats, organizations, users
from engine.domains.users import Actor, NewPassword, Passwords, temporary_password

SQL = load(__file__)


class SlugIsTaken(Conflict):
    """Somebody registered under the demo's name while it was being made."""

    code = "seed_slug_taken"


async def find(database: Database) -> tuple[UUID | None, bool]:
    """Return the organization with the demo's slug, and whether it was made here."""
    async with database.across_organizations(reason="find the demo") as across:
        row = await across.maybe(SQL.organization_by_slug, slug=SLUG)
    if row is None:
        return None, False
    async with database.as_organization(row["id"]) as tx:
        return row["id"], (await tx.one(SQL.is_seeded))["found"]


async def plant(engine: Engine) -> dict[str, str]:
    """Make the organization; return each person's password by username."""
    passwords = await _new_passwords(engine.entrance.passwords)
    first = PEOPLE[0]
    async with engine.database.as_organization(uuid4()) as tx:
        organization, admin = await organizations.register(
            tx,
            name=ORGANIZATION,
            username=first.username,
            email=first.email,
            display_name=first.display_name,
            password_hash=passwords[first.username].password_hash,
        )
        if organization.slug != SLUG:
            raise SlugIsTaken(f"The slug {SLUG} was taken meanwhile. Nothing was made.")
        boss = Actor(organization.id, admin.id, "admin")
        await audit.record(tx, actor_id=admin.id, action="seed.created", subject_id=organization.id)
        actors = {first.username: boss}
        for person in PEOPLE[1:]:
            actors[person.username] = await _add(tx, boss, person, passwords[person.username])
        for room in ROOMS:
            await _furnish(tx, engine, actors, room)
    return {username: password.plain for username, password in passwords.items()}


async def reset_passwords(engine: Engine, org_id: UUID) -> dict[str, str]:
    """Give each person a new password and end their sessions; return the passwords by username."""
    passwords = await _new_passwords(engine.entrance.passwords)
    changed = {}
    async with engine.database.as_organization(org_id) as tx:
        for user in await users.by_usernames(tx, passwords):
            old_hash = await users.password_hash_of(tx, user_id=user.id)
            if old_hash is None:
                continue  # Deactivated: no password lets them in.
            actor, new = Actor(org_id, user.id, user.role), passwords[user.username]
            await users.replace_password(tx, actor, old_hash=old_hash, new_hash=new.password_hash)
            await tx.emit(users.UserAccessChanged(user.id))
            changed[user.username] = new.plain
    return changed


async def _new_passwords(passwords: Passwords) -> dict[str, NewPassword]:
    made = {}
    for person in PEOPLE:
        plain = temporary_password()
        made[person.username] = NewPassword(plain, await passwords.hash(plain))
    return made


async def _add(tx: Transaction, boss: Actor, person: Colleague, password: NewPassword) -> Actor:
    user = await users.create_user(
        tx,
        boss,
        username=person.username,
        email=person.email,
        display_name=person.display_name,
        role=person.role,
        password=password,
    )
    actor = Actor(boss.org_id, user.id, user.role)
    # The password that is shown is the one to use: this is a demo, and nobody has to change it first.
    old_hash = password.password_hash
    await users.replace_password(tx, actor, old_hash=old_hash, new_hash=old_hash)
    return actor


async def _furnish(tx: Transaction, engine: Engine, actors: dict[str, Actor], room: Room) -> None:
    chat = await chats.create_chat(
        tx,
        actors[room.members[0]],
        title=room.title,
        kind="group",
        members=[actors[username].user_id for username in room.members],
        roles=room.roles,
        known_roles=engine.roles,
    )
    for username, words in room.said:
        await chats.post_message(
            tx, actors[username], chat_id=chat.id, content=words, known_roles=engine.roles
        )
