"""People, organizations and sessions: the fence, the races, and what is left behind."""

import asyncio
from contextlib import suppress
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine.core.database import Database, DatabaseAway
from engine.core.events import Bus
from engine.core.feed import Feed
from engine.domains import organizations, sessions, users
from engine.domains.organizations import Registration
from engine.domains.users import Passwords, UserChanges
from tests.world import ACCESS_SECONDS, PASSWORD, World


@pytest.fixture
def world(database: Database) -> World:
    sessions.listen(database.bus)
    return World(database)


async def audited(owner_url: str) -> list[str]:
    connection = await asyncpg.connect(owner_url)
    rows = await connection.fetch("SELECT action FROM audit_log ORDER BY id")
    await connection.close()
    return [row["action"] for row in rows]


async def test_an_organization_begins_with_an_admin_and_an_empty_event_log(
    world: World, database: Database
) -> None:
    firm = await world.organization("Ромашка")

    async with database.as_organization(firm.id) as tx:
        tx.announce(firm.id, "test.said", {})
        people, _ = await users.list_users(tx)
    assert [(person.username, person.role) for person in people] == [("ann", "admin")]


async def test_a_second_first_admin_is_refused(world: World, database: Database) -> None:
    firm = await world.organization()

    with pytest.raises(users.AdminsOnly):
        async with database.as_organization(firm.id) as tx:
            await users.add_first_admin(
                tx, username="eve", email="e@example.com", display_name="Eve", password_hash="x"
            )


async def test_registration_in_two_processes_lets_one_in(application_url: str) -> None:
    databases = [await Database.open(application_url, bus=Bus(), feed=Feed(), pool_size=2) for _ in range(2)]
    registrations = [Registration(database, "first") for database in databases]

    async def register(registration: Registration) -> UUID:
        async with registration.admit() as tx:
            organization, _ = await organizations.register(
                tx, name="A", username="ann", email="a@b", display_name="A", password_hash="x"
            )
        return organization.id

    outcomes = await asyncio.gather(
        *(register(registration) for registration in registrations * 3), return_exceptions=True
    )

    for database in databases:
        await database.close()
    assert sum(isinstance(outcome, UUID) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, organizations.RegistrationClosed) for outcome in outcomes) == 5


async def test_people_are_found_by_names_and_ids_of_their_own_organization(
    world: World, database: Database
) -> None:
    ours, theirs = await world.organization("Ours"), await world.organization("Theirs")
    ivan = await world.user(ours, "Иван")
    stranger = await world.user(theirs, "stranger")

    async with database.as_organization(ours.id) as tx:
        named = await users.by_usernames(tx, ["ИВАН", "ann", "stranger", "nobody"])
        by_id = await users.by_ids(tx, [ivan.id, stranger.id, uuid4()])

    assert {user.username for user in named} == {"Иван", "ann"}
    assert [user.id for user in by_id] == [ivan.id]


async def test_deactivation_and_sign_in_at_once_leave_no_live_session(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    for number in range(10):
        bob = await world.user(firm, f"bob{number}")

        async def deactivate(user_id: UUID = bob.id) -> None:
            async with database.as_organization(firm.id) as tx:
                changes = UserChanges(is_active=False)
                await users.update_user(tx, firm.admin.actor, user_id=user_id, changes=changes)

        async def sign_in(name: str = bob.username) -> str | None:
            try:
                signed_in = await sessions.sign_in(
                    world.entrance, login=name, password=PASSWORD, organization=None, address="192.0.2.1"
                )
            except sessions.InvalidCredentials:
                return None
            return signed_in.refresh_token

        _, *tokens = await asyncio.gather(deactivate(), sign_in(), sign_in(), sign_in())

        for token in filter(None, tokens):
            with pytest.raises(sessions.SessionOver):
                await sessions.refresh(world.entrance, refresh_token=token)


async def test_refreshes_and_deactivation_at_once_do_not_block_each_other(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    bob = await world.user(firm, "bob")
    tokens = [(await world.sign_in(bob)).refresh_token for _ in range(6)]

    async def deactivate() -> None:
        async with database.as_organization(firm.id) as tx:
            changes = UserChanges(is_active=False)
            await users.update_user(tx, firm.admin.actor, user_id=bob.id, changes=changes)

    async def refresh(token: str) -> None:
        with suppress(sessions.SessionOver):
            await sessions.refresh(world.entrance, refresh_token=token)

    async with asyncio.timeout(10):
        await asyncio.gather(*map(refresh, tokens[:3]), deactivate(), *map(refresh, tokens[3:]))

    for token in tokens:
        with pytest.raises(sessions.SessionOver):
            await sessions.refresh(world.entrance, refresh_token=token)


async def test_a_reused_refresh_token_is_on_the_audit_trail(world: World, database_url: str) -> None:
    signed_in = await world.sign_in((await world.organization()).admin)
    await sessions.refresh(world.entrance, refresh_token=signed_in.refresh_token)

    with pytest.raises(sessions.SessionOver):
        await sessions.refresh(world.entrance, refresh_token=signed_in.refresh_token)

    assert await audited(database_url) == [
        "user.registered",
        "organization.registered",
        "session.opened",
        "session.refresh_token_reused",
    ]


async def test_nothing_that_opens_a_door_is_stored(world: World, database_url: str) -> None:
    signed_in = await world.sign_in((await world.organization()).admin)

    connection = await asyncpg.connect(database_url)
    stored = str(await connection.fetch("SELECT * FROM refresh_tokens")) + str(
        await connection.fetch("SELECT password_hash FROM users")
    )
    await connection.close()

    assert signed_in.refresh_token not in stored
    assert PASSWORD not in stored
    assert "$argon2id$" in stored


async def test_a_password_kept_at_old_costs_is_kept_at_todays_after_a_sign_in(
    world: World, database: Database, database_url: str
) -> None:
    await world.organization()
    dearer = sessions.Entrance(
        database=database,
        passwords=Passwords(memory_kib=16, passes=2),
        access_tokens=world.entrance.access_tokens,
        refresh_tokens=world.entrance.refresh_tokens,
        refresh_days=1,
    )

    for _ in range(2):
        await sessions.sign_in(dearer, login="ann", password=PASSWORD, organization=None, address="192.0.2.1")

    connection = await asyncpg.connect(database_url)
    stored = await connection.fetchval("SELECT password_hash FROM users")
    await connection.close()
    assert "m=16,t=2" in stored


async def test_old_sessions_are_forgotten_with_their_tokens(
    world: World, database: Database, database_url: str
) -> None:
    ann = (await world.organization()).admin
    old, fresh = await world.sign_in(ann), await world.sign_in(ann)
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "UPDATE sessions SET expires_at = now() - interval '8 days' WHERE id = $1", old.session_id
    )

    forgotten = await sessions.forget_old_sessions(database)

    left = await connection.fetch("SELECT session_id FROM refresh_tokens")
    await connection.close()
    assert forgotten == 1
    assert [row["session_id"] for row in left] == [fresh.session_id]


async def test_a_guard_that_starts_knows_what_ended_before(world: World, database: Database) -> None:
    ann = (await world.organization()).admin
    ended, live = await world.sign_in(ann), await world.sign_in(ann)
    async with database.as_organization(ann.org_id) as tx:
        await sessions.sign_out(tx, ann.actor, session_id=ended.session_id)

    guard = sessions.SessionGuard(database, lifetime_seconds=ACCESS_SECONDS)
    await guard.start()

    assert guard.is_ended(ended.session_id)
    assert not guard.is_ended(live.session_id)
    await guard.stop()


async def test_a_blind_guard_asks_the_database(
    world: World, database: Database, application_url: str
) -> None:
    ann = (await world.organization()).admin
    ended, live = await world.sign_in(ann), await world.sign_in(ann)
    now = 100.0
    deaf = await Database.open(application_url, bus=Bus(), feed=Feed(), pool_size=2)
    guard = sessions.SessionGuard(deaf, lifetime_seconds=ACCESS_SECONDS, clock=lambda: now)
    await guard.look()
    async with database.as_organization(ann.org_id) as tx:
        await sessions.sign_out(tx, ann.actor, session_id=ended.session_id)

    await guard.check(org_id=ann.org_id, session_id=ended.session_id)  # Not heard of yet.
    now += 6

    assert guard.is_blind
    with pytest.raises(sessions.SessionOver):
        await guard.check(org_id=ann.org_id, session_id=ended.session_id)
    await guard.check(org_id=ann.org_id, session_id=live.session_id)
    await deaf.close()


async def test_a_blind_guard_without_a_database_lets_nobody_in(world: World, database: Database) -> None:
    signed_in = await world.sign_in((await world.organization()).admin)
    guard = sessions.SessionGuard(database, lifetime_seconds=ACCESS_SECONDS)
    await database.close()

    with pytest.raises(DatabaseAway):
        await guard.check(org_id=signed_in.organization.id, session_id=signed_in.session_id)
