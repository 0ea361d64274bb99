"""Makers of organizations, people, chats and drafts, through the doors that production uses."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from engine.core.database import Database
from engine.core.events import Bus
from engine.core.together import Together
from engine.domains import approvals, calendar, chats, notifications, organizations, runs, sessions, users
from engine.domains.chats import ChatKind
from engine.domains.runs import FENCE_SHIFT, Claim, Outcome, Run, RunEvent
from engine.domains.users import Actor, Passwords, User, UserRole
from tests.unit.scripted_model import SHIPPED

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


class ManyRoles:
    """Role names of an installation with fifty roles."""

    def names(self) -> dict[str, str]:
        return {f"role{n}": f"role{n}" for n in range(50)}


class World:
    """Makes what a test needs; passwords are hashed at no cost to speak of."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.posts = Together(
            database, partial(chats.post_messages, known_roles=SHIPPED), apart=lambda new: new.chat_id
        )
        self.passwords = Passwords(memory_kib=8, passes=1)
        self.entrance = sessions.Entrance(
            database=database,
            passwords=self.passwords,
            access_tokens=sessions.AccessTokens(SECRET, lifetime_seconds=ACCESS_SECONDS),
            refresh_tokens=sessions.RefreshTokens(SECRET),
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

    async def chat(
        self, owner: Person, *members: Person, kind: ChatKind = "group", roles: Iterable[str] = ()
    ) -> UUID:
        """Open a chat of some people; `roles` limits who may be called in it."""
        async with self.database.as_organization(owner.org_id) as tx:
            opened = await chats.create_chat(
                tx,
                owner.actor,
                title="Кадры",
                kind=kind,
                members=[member.id for member in members],
                roles=roles,
                known_roles=SHIPPED,
            )
        return opened.id

    async def post(
        self, person: Person, chat_id: UUID, content: str, *, client_message_id: str | None = None
    ) -> chats.Posted:
        """Let a person say something in a chat, as the edge does."""
        try:
            return await self._post(person, chat_id, content, client_message_id)
        except chats.PostedMeanwhile:
            return await self._post(person, chat_id, content, client_message_id)

    async def _post(
        self, person: Person, chat_id: UUID, content: str, client_message_id: str | None
    ) -> chats.Posted:
        new = chats.NewMessage(person.actor, chat_id, content, client_message_id)
        return await self.posts.ask(person.org_id, new)

    async def ask(self, person: Person, chat_id: UUID, content: str = "@@lawyer, можно ли?") -> Run:
        """Let a person call one role in a chat; its run waits for a worker."""
        (run,) = runs.among(await self.post(person, chat_id, content))
        return run

    async def claim(
        self,
        *,
        worker: str = "w1",
        count: int = 64,
        lease_seconds: float = 60,
        share: runs.Share = runs.Share(),
    ) -> list[Claim]:
        """Take the runs that wait, as a worker does."""
        async with self.database.across_organizations(reason="a test's worker") as tx:
            return await runs.claim(tx, worker=worker, count=count, lease_seconds=lease_seconds, share=share)

    async def finish(self, *outcomes: Outcome) -> set[UUID]:
        """End attempts of one organization, as a worker does."""
        async with self.database.as_organization(outcomes[0].claim.org_id) as tx:
            return await runs.finish(tx, list(outcomes))

    async def draft(
        self,
        asker: Person,
        chat_id: UUID,
        text: str = "Можно, но не сразу.",
        *,
        approvers: Iterable[str] = ("asker", "admins"),
    ) -> UUID:
        """Let a role answer a person; return the id of the message that waits for a signature."""
        run = await self.ask(asker, chat_id)
        (claim,) = [claim for claim in await self.claim() if claim.id == run.id]
        await self.finish(completed(claim, text, approvers=list(approvers)))
        return run.answer_id

    async def event(self, owner: Person, *, title: str = "Табель", **more: Any) -> calendar.CalendarEvent:
        """Let a person plan something for every year; `more` are other parts of the plan."""
        yearly = calendar.Schedule("recurring", datetime.now(UTC), "Europe/Moscow", cron="0 9 1 3 *")
        plan = calendar.Plan(title, **{"schedule": yearly, **more})
        async with self.database.as_organization(owner.org_id) as tx:
            return await calendar.create_event(tx, owner.actor, plan, known_roles=SHIPPED)


def introduce(bus: Bus) -> None:
    """Let the rooms react to one another as they do in a running engine."""
    bus.on(chats.MessagesPosted, runs.queue_for_messages)
    bus.on(chats.ChatDeleted, runs.cancel_of_chat)
    bus.on(runs.AnswersPosted, approvals.open_drafts)
    notifications.listen(bus)
    bus.on(runs.RunsEnded, calendar.hear_ends)
    bus.on(approvals.DraftDecided, calendar.hear_verdict)


def completed(claim: Claim, text: str = "Можно.", *, approvers: list[str] | None = None) -> Outcome:
    """Say how an attempt ends that has an answer; `approvers` None: nobody has to sign it."""
    last = RunEvent((claim.fence << FENCE_SHIFT) + 1, "run.completed", {"message_id": str(claim.answer_id)})
    return Outcome(claim, "completed", text, approvers=approvers, model="scripted:scripted", unwritten=[last])


def failed(claim: Claim, code: str = "model_unavailable") -> Outcome:
    """Say how an attempt ends that has no answer."""
    last = RunEvent((claim.fence << FENCE_SHIFT) + 1, "run.failed", {"code": code, "detail": ""})
    return Outcome(claim, "failed", error_code=code, error_detail="", unwritten=[last])
