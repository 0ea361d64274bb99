"""Makers of organizations and people, through the doors that production uses."""

from dataclasses import dataclass
from itertools import count
from uuid import UUID, uuid4

from engine.core.database import Database
from engine.domains import organizations, sessions, users
from engine.domains.users import Actor, Passwords, User, UserRole

SECRET = b"a secret of the tests, not of anybody"
PASSWORD = "correct horse battery"
ACCESS_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has an account and knows its password."""

    actor: Actor
    user: User
    password: str

    @property
    def id(self) -> UUID:
        return self.user.id

    @property
    def org_id(self) -> UUID:
        return self.actor.org_id

    @property
    def username(self) -> str:
        return self.user.username


@dataclass(frozen=True, slots=True)
class Firm:
    """An organization and the admin who made it."""

    id: UUID
    name: str
    slug: str
    admin: Person


class World:
    """Makes what a test needs; passwords are hashed at no cost to speak of."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.passwords = Passwords(memory_kib=8, passes=1)
        self.entrance = sessions.Entrance(
            database=database,
            passwords=self.passwords,
            access_tokens=sessions.AccessTokens(SECRET, lifetime_seconds=ACCESS_SECONDS),
            refresh_days=30,
            failure_seconds=0.0,
        )
        self._number = count(1)

    async def organization(self, name: str = "Ромашка", *, admin: str = "ann") -> Firm:
        """Register an organization; its admin has the given username."""
        password_hash = await self.passwords.hash(PASSWORD)
        async with self.database.as_organization(uuid4()) as tx:
            organization, user = await organizations.register(
                tx,
                name=name,
                username=admin,
                email=f"{admin}@example.com",
                display_name=admin.capitalize(),
                password_hash=password_hash,
            )
        person = Person(Actor(organization.id, user.id, "admin"), user, PASSWORD)
        return Firm(organization.id, organization.name, organization.slug, person)

    async def user(
        self,
        organization: Firm,
        username: str | None = None,
        *,
        role: UserRole = "user",
        display_name: str | None = None,
    ) -> Person:
        """Let the admin add a person, who then changes the temporary password."""
        username = username or f"user{next(self._number)}"
        admin = organization.admin.actor
        temporary = await users.new_temporary_password(self.passwords, admin)
        new_hash = await self.passwords.hash(PASSWORD)
        async with self.database.as_organization(organization.id) as tx:
            user = await users.create_user(
                tx,
                admin,
                username=username,
                email=f"{username}@example.com",
                display_name=display_name or username.capitalize(),
                role=role,
                password=temporary,
            )
            actor = Actor(organization.id, user.id, role)
            await users.replace_password(tx, actor, old_hash=temporary.password_hash, new_hash=new_hash)
            user = await users.get_user(tx, user_id=user.id)
        return Person(actor, user, PASSWORD)

    async def sign_in(self, person: Person) -> sessions.SignedIn:
        """Open a session for a person, without the sign-in's checks."""
        async with self.database.as_organization(person.org_id) as tx:
            signed_in = await sessions.open_session(tx, self.entrance, user_id=person.id)
        assert signed_in is not None
        return signed_in

    async def headers(self, person: Person) -> dict[str, str]:
        """Return what a client of a signed-in person sends with every request."""
        return {"Authorization": f"Bearer {(await self.sign_in(person)).access_token}"}
