"""Builds the parts of an engine once and hands them to whoever runs it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.utils import parseaddr
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from engine.adapters.web_push import PushCourier, PushKey
from engine.adapters.webhooks import WebhookCourier
from engine.core import database as core_database
from engine.core.database import APPLICATION_ROLE, MIGRATIONS, Database, DatabaseAway
from engine.core.embedded import OWNER, EmbeddedDatabaseFailed, EmbeddedPostgres
from engine.core.events import Bus
from engine.core.feed import Feed
from engine.core.logging import log
from engine.core.migrations import migrate, read_migrations, still_to_take
from engine.core.relay import Relay
from engine.core.secret import Seal, load_secret
from engine.core.settings import Settings
from engine.domains import approvals, calendar, chats, notifications, runs, sessions
from engine.domains.notifications import ChannelKind, Courier, Office
from engine.domains.organizations import Registration
from engine.domains.users import Passwords
from engine.postman import Postman, Telegraph
from engine.roles import DEFAULT_POOL, Catalogue, RolesChanged, load_roles
from engine.roles import let_travel as let_roles_travel
from engine.worker import StandIn, WorkerHost, WorkersElsewhere

ROLES = Path(__file__).parent / "roles"
PROMPTS = Path(__file__).parents[1] / "prompts"
HOUSEKEEPING_SECONDS = 600
EXPIRY_SECONDS = 30
FULL_BATCH = 1000  # rows, of the smallest kind of batch; after fewer there is no hurry
BETWEEN_BATCHES_SECONDS = 0.2
DATABASE_SECONDS = 2.0
MOST_DATABASE_SECONDS = 60.0
TINY_ANSWER_TOKENS = 200  # The smallest model does not know when to stop.
# No library may tell anybody outside what is asked here.
SILENCE = {
    "LANGCHAIN_TRACING_V2": "false",
    "LANGCHAIN_TRACING": "false",
    "LANGSMITH_TRACING": "false",
    "LANGGRAPH_STRICT_MSGPACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OTEL_SDK_DISABLED": "true",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The two ways to the database: the owner's, for migrations, and the application's."""

    owner: str
    application: str


class Engine:
    """The parts of one running engine; `open_engine` makes and ends it."""

    def __init__(
        self,
        settings: Settings,
        urls: DatabaseUrls,
        database: Database,
        roles: Catalogue,
        secret: bytes,
        office: Office,
        thinks: WorkerHost | WorkersElsewhere,
    ) -> None:
        token_seconds = settings.access_token_minutes * 60
        self.settings = settings
        self.urls = urls
        self._migrations = read_migrations(MIGRATIONS)
        self.database = database
        self.roles = roles
        self.office = office
        self.thinks = thinks
        self.stand_in: StandIn | None = None
        self.registration = Registration(database, settings.registration)
        self.guard = sessions.SessionGuard(database, lifetime_seconds=token_seconds)
        self.entrance = sessions.Entrance(
            database=database,
            passwords=Passwords(),
            access_tokens=sessions.AccessTokens(secret, lifetime_seconds=token_seconds),
            refresh_tokens=sessions.RefreshTokens(secret),
            refresh_days=settings.refresh_token_days,
        )

    def model_state(self) -> dict[str, Any]:
        """Return which model answers, why it was chosen, and whether it is ready."""
        return self.thinks.model_state()

    async def missing_migrations(self) -> list[str]:
        """Return the names of the migrations that the database has not seen."""
        missing = still_to_take(await self.database.applied_migrations(), self._migrations)
        return [migration.name for migration in missing]

    async def keep_house(self) -> None:
        """Delete what has outlived its use, a batch at a time, until cancelled."""
        while True:
            try:
                await forget_what_is_old(self.database, keep_hours=self.settings.events_keep_hours)
            except DatabaseAway:
                log.warning("housekeeping_waits_for_the_database")
            except Exception:  # noqa: BLE001 - the house is kept again in a while
                log.exception("housekeeping_failed")
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def expire_drafts(self) -> None:
        """End drafts that nobody signed in time, until cancelled."""
        while True:
            try:
                await approvals.expire_overdue(self.database)
            except DatabaseAway:
                log.warning("expiry_waits_for_the_database")
            except Exception:  # noqa: BLE001 - others expire in a while
                log.exception("expiry_failed")
            await asyncio.sleep(EXPIRY_SECONDS)


@asynccontextmanager
async def open_engine(settings: Settings, *, tiny: bool = False, works: bool = True) -> AsyncIterator[Engine]:
    """Make an engine, let it work, and end it: runs first, then connections, then the database.

    With `works` False nothing works in the background, for commands that only need the rooms.
    """
    os.environ.update(SILENCE)
    if tiny and settings.model_answer_tokens is None:
        settings = settings.model_copy(update={"model_answer_tokens": TINY_ANSWER_TOKENS})
    secret = load_secret(settings.secret_key, settings.data_dir)
    async with AsyncExitStack() as parts:
        urls = await parts.enter_async_context(open_database_server(settings))
        database = await Database.open(
            urls.application, bus=make_bus(), feed=Feed(), pool_size=settings.database_pool_size
        )
        parts.push_async_callback(database.close)
        if works and (settings.database_url is not None or settings.runtime == "ray"):
            parts.push_async_callback(_end, [_open_relay(urls.application, database)])
        roles = _known_roles(database)
        new_worker = partial(
            WorkerHost, settings, database, roles, application_url=urls.application, tiny=tiny
        )
        thinks: WorkerHost | WorkersElsewhere
        thinks = new_worker() if settings.runtime == "inline" else WorkersElsewhere(database, monotonic)
        office = _office(settings, secret)
        engine = Engine(settings, urls, database, roles, secret, office, thinks)
        if works:
            await engine.guard.start()
            parts.push_async_callback(engine.guard.stop)
            tasks = [
                asyncio.create_task(engine.keep_house()),
                asyncio.create_task(Postman(database, office, _couriers(settings, office, secret)).run()),
                asyncio.create_task(engine.expire_drafts()),
                asyncio.create_task(calendar.Scheduler(database, roles).run()),
            ]
            if settings.telegram_token is not None:
                tasks.append(asyncio.create_task(_telegraph(settings, database, office).run()))
            if isinstance(thinks, WorkerHost):
                tasks.append(asyncio.create_task(thinks.run()))
            elif _may_stand_in(settings):
                host = partial(new_worker, pool=DEFAULT_POOL, stands_in=True)
                engine.stand_in = StandIn(host, thinks)
                tasks.append(asyncio.create_task(engine.stand_in.run()))
            parts.push_async_callback(_end, tasks)
        yield engine


def _may_stand_in(settings: Settings) -> bool:
    """Whether this process has a model without Ray: where Ray hosts the model as well, it has none."""
    provider = (settings.model or "embedded").partition(":")[0]
    return not (settings.model_replicas and provider == "embedded")


@asynccontextmanager
async def open_worker(settings: Settings, *, pool: str | None = None) -> AsyncIterator[WorkerHost]:
    """Let a worker work on a database that an engine has migrated, and hand its runs back at the end.

    Nothing is served, and the house is not kept.
    """
    async with open_rooms(settings) as (database, roles, url):
        host = WorkerHost(settings, database, roles, application_url=url, tiny=False, pool=pool)
        working = asyncio.create_task(host.run())
        try:
            yield host
        finally:
            await _end([working])


@asynccontextmanager
async def open_rooms(settings: Settings) -> AsyncIterator[tuple[Database, Catalogue, str]]:
    """Give a database that an engine has migrated, the roles, and the application's way to the database."""
    assert settings.database_url is not None, "an engine tells its workers where the database is"
    os.environ.update(SILENCE)
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as parts:
        database = await Database.open(
            url, bus=make_bus(), feed=Feed(), pool_size=settings.database_pool_size
        )
        parts.push_async_callback(database.close)
        parts.push_async_callback(_end, [_open_relay(url, database)])
        yield database, _known_roles(database), url


@asynccontextmanager
async def open_database_server(settings: Settings) -> AsyncIterator[DatabaseUrls]:
    """Give the ways to a migrated database; the embedded one is started before and stopped after."""
    embedded: EmbeddedPostgres | None = None
    watch: list[asyncio.Task[None]] = []
    if settings.database_url is not None:
        application = settings.database_url.get_secret_value()
        owner_url = settings.database_owner_url or settings.database_url
        urls = DatabaseUrls(owner=owner_url.get_secret_value(), application=application)
    else:
        embedded = EmbeddedPostgres(settings.data_dir / "postgres")
        await asyncio.to_thread(embedded.start)
        urls = DatabaseUrls(owner=embedded.url(user=OWNER), application=embedded.url(user=APPLICATION_ROLE))
        watch.append(asyncio.create_task(keep_running(embedded)))
    try:
        await bring_up_to_date(urls.owner)
        yield urls
    finally:
        await _end(watch)
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)


async def keep_running(embedded: EmbeddedPostgres) -> None:
    """Start the embedded database again whenever it dies, with growing pauses, until cancelled."""
    pause = DATABASE_SECONDS
    while True:
        await asyncio.sleep(pause)
        if embedded.is_running():
            pause = DATABASE_SECONDS
            continue
        try:
            if await asyncio.to_thread(embedded.start_again):
                log.warning("embedded_database_started_again")
        except (EmbeddedDatabaseFailed, OSError, SubprocessError) as error:
            log.error("embedded_database_not_started", error=str(error), next_try_seconds=pause * 2)
        pause = min(pause * 2, MOST_DATABASE_SECONDS)


async def forget_what_is_old(database: Database, *, keep_hours: int) -> None:
    """Delete events, steps and sessions that nobody needs any more, a batch in a transaction."""

    async def batch_of(forget: Callable[..., Awaitable[int]]) -> int:
        async with database.across_organizations(reason="forget old events") as tx:
            return await forget(tx, keep_hours=keep_hours)

    for forget_a_batch in (
        partial(batch_of, core_database.forget_old_events),
        partial(batch_of, runs.forget_old_events),
        partial(batch_of, runs.forget_old_checkpoints),
        partial(batch_of, notifications.forget_old_updates),
        partial(sessions.forget_old_sessions, database),
    ):
        while True:
            if await forget_a_batch() < FULL_BATCH:
                break
            await asyncio.sleep(BETWEEN_BATCHES_SECONDS)


async def bring_up_to_date(owner_url: str) -> list[str]:
    """Take the migrations that are missing; return their names."""
    connection = await asyncpg.connect(owner_url, timeout=10)
    try:
        return await migrate(connection, read_migrations(MIGRATIONS), say=log.info)
    finally:
        await connection.close()


def make_bus() -> Bus:
    """Introduce the rooms that react to one another."""
    bus = Bus()
    bus.on(chats.MessagesPosted, runs.queue_for_messages)
    bus.on(chats.ChatDeleted, runs.cancel_of_chat)
    bus.on(runs.AnswersPosted, approvals.open_drafts)
    notifications.listen(bus)
    bus.on(runs.RunsEnded, calendar.hear_ends)
    bus.on(approvals.DraftDecided, calendar.hear_verdict)
    sessions.listen(bus)
    return bus


def _office(settings: Settings, secret: bytes) -> Office:
    """Return what this installation can reach people by."""
    kinds: set[ChannelKind] = {"in_app", "webhook", "web_push"}
    if settings.smtp_url is not None:
        kinds.add("email")
    token = settings.telegram_token.get_secret_value() if settings.telegram_token else None
    if token is not None:
        kinds.add("telegram")
    return Office(
        Seal(secret),
        frozenset(kinds),
        settings.public_url,
        settings.web_base,
        token,
        push_key=PushKey(secret).public,
    )


def _couriers(settings: Settings, office: Office, secret: bytes) -> list[Courier[Any]]:
    """Return who carries notes, one for each kind of channel that is set up."""
    host = urlsplit(settings.public_url or "").hostname or "localhost"
    address = parseaddr(settings.mail_from or "")[1] or f"rugpt@{host}"
    couriers: list[Courier[Any]] = [
        WebhookCourier(office),
        PushCourier(PushKey(secret), subscriber=address),
    ]
    if settings.smtp_url is not None:
        from engine.adapters.mail import MailCourier, writer_and_mailbox

        couriers.append(MailCourier(*writer_and_mailbox(settings, office)))
    return couriers


def _telegraph(settings: Settings, database: Database, office: Office) -> Telegraph:
    from engine.adapters.telegram import TelegramBot

    assert office.telegram_token is not None, "the bot is set up"
    bot = TelegramBot(office.telegram_token, api_url=settings.telegram_api_url)
    return Telegraph(database, office, bot, is_called=settings.telegram_updates == "webhook")


def _known_roles(database: Database) -> Catalogue:
    roles = load_roles(ROLES, PROMPTS)

    def complain() -> None:
        for problem in roles.problems:
            log.error("role_file_broken", problem=str(problem))

    def read_again(_: RolesChanged) -> None:
        roles.reload()
        log.info("roles_read_again", roles=len(roles.all()))
        complain()

    database.feed.on(RolesChanged, read_again)
    complain()
    return roles


def _open_relay(url: str, database: Database) -> asyncio.Task[None]:
    relay = Relay(url, database.feed)
    runs.let_travel(relay)
    calendar.let_travel(relay)
    let_roles_travel(relay)
    notifications.let_travel(relay)
    return asyncio.create_task(relay.run())


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
