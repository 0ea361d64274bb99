"""The way to PostgreSQL: one pool, transactions that see one organization, and a numbered event log."""

from asyncio import timeout as _within
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from engine.core.errors import Unavailable
from engine.core.events import Announced, Announcement, Bus
from engine.core.feed import Feed
from engine.core.json import dump
from engine.core.logging import log
from engine.core.sql import Statement, load, quoted

SQL = load(__file__)
APPLICATION_ROLE = "rugpt_app"  # Owns nothing and cannot bypass row-level security.
ACROSS_ROLE = (
    "rugpt_across"  # Sees a few columns of every organization: the queue, the sign-in, the sessions.
)
ACQUIRE_SECONDS = 10
BEGIN_SECONDS = 5  # It asks for nothing: a server that needs longer is frozen.
RELEASE_SECONDS = 2
# For statements whose planning would take longer than doing them, and gains nothing from their values.
PLAN_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan"
BEGIN_ACROSS = f"BEGIN; SET LOCAL ROLE {ACROSS_ROLE}; {PLAN_ONCE}"
# A commit that others wait for, because it holds the counter of an organization's log, is not the one that
# waits for the disk: `flush` does, which holds nothing, and comes after it in the write-ahead log.
COMMIT_AND_LET_GO = "SET LOCAL synchronous_commit = off; COMMIT"
# What a database that restarts, or does not answer in time, does to those who wait for it.
_AWAY = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,  # a full disk, no memory, too many connections
)
MIGRATIONS = Path(__file__).parents[2] / "migrations"


class DatabaseAway(Unavailable):
    """The database does not answer; what was asked of it may or may not have become true."""

    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__("The database does not answer. Try again in a few seconds.")


class Transaction:
    """An open transaction. Everything in it, its announcements included, becomes true together."""

    def __init__(self, connection: Any, bus: Bus, org_id: UUID | None) -> None:
        self._connection = connection
        self._bus = bus
        self._announcements: list[Announcement] = []
        self._before_flush: list[object] = []
        self._after_commit: list[object] = []
        self.org_id = org_id
        self.has_log_numbers = False  # its own or those it has read: nobody may hear of them too early

    async def all(self, statement: Statement, **values: object) -> list[asyncpg.Record]:
        """Return every row."""
        rows: list[asyncpg.Record] = await self._connection.fetch(
            statement.text, *statement.arguments(values)
        )
        return rows

    async def maybe(self, statement: Statement, **values: object) -> asyncpg.Record | None:
        """Return the first row, or None."""
        row: asyncpg.Record | None = await self._connection.fetchrow(
            statement.text, *statement.arguments(values)
        )
        return row

    async def one(self, statement: Statement, **values: object) -> asyncpg.Record:
        """Return the row that must be there."""
        row = await self.maybe(statement, **values)
        if row is None:
            raise LookupError(f"{statement.name} gave no row")
        return row

    async def run(self, statement: Statement, **values: object) -> int:
        """Carry out a statement and return the number of rows it touched."""
        status: str = await self._connection.execute(statement.text, *statement.arguments(values))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def emit(self, event: object) -> list[object]:
        """Let the higher rooms react to a domain event, in this transaction; return what they made of it."""
        return await self._bus.dispatch(self, event)

    def announce(self, channel: UUID, kind: str, data: dict[str, Any], *, live: Any = None) -> None:
        """Add a line to the organization's event log; it is numbered at the commit."""
        self._announcements.append(Announcement(channel, kind, data, live))

    def after_commit(self, item: object, *, on_disk: bool = True) -> None:
        """Send an item to the feed once this transaction is true, and not at all if it fails.

        Without `on_disk` it does not wait for the disk: for whoever tells nobody of it before a later
        transaction, and does no harm should a dying server forget this one.
        """
        (self._after_commit if on_disk else self._before_flush).append(item)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Take back what is done inside, announcements included, when it raises; what was before stays."""
        lists: tuple[list[Any], ...] = (self._announcements, self._before_flush, self._after_commit)
        lengths = [len(each) for each in lists]
        await self._connection.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            for kept, length in zip(lists, lengths, strict=True):
                del kept[length:]
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK TO attempt", timeout=RELEASE_SECONDS)
            raise
        await self._connection.execute("RELEASE attempt")

    async def commit(self, feed: Feed) -> None:
        """Make everything true, and let the feed hear of it.

        What was kept for after the commit is heard before the announcements: a run's last words come
        before its end.

        The announcements are numbered by the same message to the server that commits. The counter's row is
        locked by nobody earlier in a transaction, and for as long as the server needs: so numbers become
        visible in their order, without gaps, and transactions neither wait in a circle nor for a client.
        """
        has_numbers = self.has_log_numbers or bool(self._announcements)
        ending = COMMIT_AND_LET_GO if has_numbers else "COMMIT"
        if self._announcements:
            lines = dump([(each.channel, each.kind, each.data) for each in self._announcements]).decode()
            ending = f"SELECT announce({quoted(lines)}); {ending}"
        await self._connection.execute(ending)
        for item in self._before_flush:
            feed.send(item)
        numbered: list[Announced] = []
        if has_numbers:
            numbered = self._numbered((await self.one(SQL.flush))["first_no"])
        for item in (*self._after_commit, *numbered):
            feed.send(item)

    def _numbered(self, first_no: int) -> list[Announced]:
        if not self._announcements:
            return []
        assert self.org_id is not None, "only an organization has an event log"
        return [
            Announced(self.org_id, no, announcement)
            for no, announcement in enumerate(self._announcements, first_no)
        ]


class Database:
    """A pool of connections that work as the application role."""

    def __init__(self, pool: Any, bus: Bus, feed: Feed) -> None:
        self._pool = pool
        self.bus = bus
        self.feed = feed

    @classmethod
    async def open(cls, url: str, *, bus: Bus, feed: Feed, pool_size: int = 10) -> "Database":
        """Connect to a migrated database; close() gives the connections back."""
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=pool_size,
            command_timeout=30,
            init=_prepare_connection,
            reset=_keep_session,
            server_settings={
                "role": APPLICATION_ROLE,
                "application_name": "rugpt",
                "jit": "off",
                "standard_conforming_strings": "on",  # as `quoted` takes for granted
                "random_page_cost": "1.1",  # The usual 4 is that of a disk that turns.
                "idle_in_transaction_session_timeout": "10000",
            },
        )
        return cls(pool, bus, feed)

    async def close(self) -> None:
        """Wait for open transactions for a few seconds, then close every connection."""
        try:
            async with _within(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def as_organization(
        self,
        org_id: UUID,
        *,
        durable: bool = True,
        plans_once: bool = False,
        lock_seconds: int | None = None,
    ) -> AsyncIterator[Transaction]:
        """Open a transaction that can see one organization's rows and nobody else's.

        `durable=False` lets the commit return before it is on disk: for rows that can be lost. With
        `plans_once` a connection plans each statement once, whatever the values: for what is asked in every
        turn of a conversation. A statement that waits for a lock longer than `lock_seconds` raises
        asyncpg.LockNotAvailableError.
        """
        # Local to the transaction, so a pooled connection cannot carry it to the next caller.
        begin = f"BEGIN; SET LOCAL app.org_id = '{UUID(str(org_id))}'"
        if not durable:
            begin += "; SET LOCAL synchronous_commit = off"
        if plans_once:
            begin += f"; {PLAN_ONCE}"
        if lock_seconds is not None:
            begin += f"; SET LOCAL lock_timeout = '{lock_seconds}s'"
        async with self._transaction(begin, org_id) as tx:
            yield tx

    @asynccontextmanager
    async def across_organizations(self, *, reason: str) -> AsyncIterator[Transaction]:
        """Open a transaction of the role that sees a few columns of every organization."""
        log.debug("across_organizations", reason=reason)
        async with self._transaction(BEGIN_ACROSS, None) as tx:
            yield tx

    async def applied_migrations(self) -> dict[str, str]:
        """Return the checksums of the migrations that the database has seen, by name."""
        async with self._transaction("BEGIN READ ONLY", None) as tx:
            return {row["name"]: row["checksum"] for row in await tx.all(SQL.applied_migrations)}

    @asynccontextmanager
    async def _transaction(self, begin: str, org_id: UUID | None) -> AsyncIterator[Transaction]:
        connection = await self._begun(begin)
        try:
            tx = Transaction(connection, self.bus, org_id)
            try:
                yield tx
                await tx.commit(self.feed)
            except BaseException:
                await _roll_back(connection)
                raise
        except Exception as error:
            if _is_away(error):
                raise DatabaseAway from error
            raise
        finally:
            await self._give_back(connection)

    async def _begun(self, begin: str) -> Any:
        """Return a connection with an open transaction.

        Begin and fence travel in one round trip. A server that was restarted leaves dead connections
        in the pool; nothing was asked of them yet, so the next one is tried.
        """
        for _ in range(self._pool.get_max_size() + 1):
            try:
                connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
            except Exception as error:
                if _is_away(error):
                    raise DatabaseAway from error
                raise
            try:
                await connection.execute(begin, timeout=BEGIN_SECONDS)
            except BaseException as failure:
                # The pool rolls back whatever a cancelled caller leaves open.
                await self._give_back(connection)
                if not _is_away(failure):
                    raise
                if isinstance(failure, (TimeoutError, asyncpg.InsufficientResourcesError)):
                    raise DatabaseAway from failure  # The next connection leads to the same server.
            else:
                return connection
        raise DatabaseAway

    async def _give_back(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=RELEASE_SECONDS)
        except Exception as error:
            if not _is_away(error):
                raise
            # The pool has cut it off. What became of the transaction was decided before.
            log.warning("connection_lost", error=type(error).__name__)


async def _roll_back(connection: Any) -> None:
    """Take back an open transaction; what raised before is what the caller must hear of."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK", timeout=RELEASE_SECONDS)
    except Exception as error:
        if not _is_away(error):
            raise
        log.warning("rollback_unheard", error=type(error).__name__)  # Giving it back cuts it off.


def _is_away(error: BaseException) -> bool:
    """Whether the database is to blame; a closed connection has the same class as our own mistakes."""
    closed = type(error) is asyncpg.InterfaceError and "clos" in str(error)
    return closed or isinstance(error, _AWAY)


async def _keep_session(connection: Any) -> None:
    """Reset nothing: whatever is set here is set for one transaction, and the pool rolls back an open one.

    The usual reset costs each transaction a round trip. A test cancels callers at every point and looks
    for what they leave behind.
    """


async def _prepare_connection(connection: Any) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind,
            schema="pg_catalog",
            encoder=lambda value: dump(value).decode(),
            decoder=orjson.loads,
            format="text",
        )


async def last_event_no(tx: Transaction) -> int:
    """Return the number of the organization's newest announcement; 0 before the first."""
    tx.has_log_numbers = True
    no: int = (await tx.one(SQL.last_event_no))["last_no"]
    return no


async def oldest_event_no(tx: Transaction) -> int | None:
    """Return the number of the oldest announcement that is still kept."""
    no: int | None = (await tx.one(SQL.oldest_event_no))["no"]
    return no


async def events_after(
    tx: Transaction, *, after: int, channels: list[UUID] | None, limit: int
) -> list[asyncpg.Record]:
    """Return announcements beyond a number, oldest first; of all channels when `channels` is None."""
    rows = await tx.all(SQL.events_after, after=after, channels=channels, count=limit)
    tx.has_log_numbers = tx.has_log_numbers or bool(rows)
    return rows


async def forget_old_events(tx: Transaction, *, keep_hours: int) -> int:
    """Delete a batch of old announcements of any organization; return how many."""
    return await tx.run(SQL.forget_old_events, keep_hours=keep_hours)
