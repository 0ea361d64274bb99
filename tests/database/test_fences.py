"""The fence around each organization, tried on every table that there is with rows of two organizations."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine.core.database import ACROSS_ROLE, APPLICATION_ROLE, Database
from engine.domains import approvals, calendar, notifications, organizations, runs
from engine.domains.approvals import Verdict
from engine.domains.notifications import Bound, Browser
from engine.domains.runs import RunEvent, ToolUse
from engine.domains.usage import ModelCall
from tests.postal import dead_letter, hurry, office
from tests.unit.scripted_model import SHIPPED
from tests.world import Firm, World, completed

# As langgraph's saver writes them; it is tried with a graph elsewhere.
CHECKPOINTS = (
    "INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint) VALUES ($1, '1', '{}')",
    "INSERT INTO checkpoint_blobs (thread_id, channel, version, type) VALUES ($1, 'c', '1', 'empty')",
    """
    INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob)
    VALUES ($1, '1', 't', 0, 'c', '')
    """,
)


@dataclass
class Towns:
    """Two organizations with a row in every table, seen by the owner of the database."""

    owner: asyncpg.Connection
    tables: list[str]
    ours: Firm
    theirs: Firm

    async def seen(self, table: str, org_id: UUID | None) -> int:
        """Count the rows that the application sees as an organization."""
        async with self.owner.transaction():
            await self.become(org_id)
            number: int = await self.owner.fetchval(f"SELECT count(*) FROM {table}")
        return number

    async def become(self, org_id: UUID | None, role: str = APPLICATION_ROLE) -> None:
        """Be the application for the rest of the transaction."""
        await self.owner.execute("SELECT set_config('app.org_id', $1, true)", str(org_id or ""))
        await self.owner.execute(f"SET LOCAL ROLE {role}")

    async def is_refused(
        self, org_id: UUID | None, statement: str, *values: object, role: str = APPLICATION_ROLE
    ) -> bool:
        """Try a statement as the application and undo it; tell whether it lacked the right."""
        undo = self.owner.transaction()
        await undo.start()
        try:
            await self.become(org_id, role)
            await self.owner.execute(statement, *values)
        except asyncpg.InsufficientPrivilegeError:
            return True
        finally:
            await undo.rollback()
        return False

    async def may(self, table: str, right: str, role: str = APPLICATION_ROLE) -> bool:
        """Whether a role has a right to a table or to a column of it."""
        check = "has_table_privilege" if right in ("DELETE", "TRUNCATE") else "has_any_column_privilege"
        allowed: bool = await self.owner.fetchval(f"SELECT {check}($1, $2, $3)", role, table, right)
        return allowed


async def fill(world: World, owner: asyncpg.Connection, name: str) -> Firm:
    """Live through everything once, so that every table has a row of this organization."""
    firm = await world.organization(name)
    signed_in = await world.sign_in(firm.admin)
    chat_id = await world.chat(firm.admin)
    await world.ask(firm.admin, chat_id)
    (claim,) = await world.claim()
    outcome = completed(claim, approvers=["asker"])
    call = ModelCall(claim.id, 1, 1, claim.asker_id, "lawyer", "scripted", "m", 1, 1, False, 1, 1)
    outcome.calls.append(call)
    outcome.unwritten.append(RunEvent((1 << 20) + 2, "run.completed", {}))
    role = SHIPPED.get("lawyer")
    assert role is not None
    async with world.database.as_organization(firm.id) as tx:
        await runs.keep_role_version(
            tx, version=role.version, role_code=role.code, definition=role.definition
        )
        await runs.record_tools(tx, claim, [ToolUse(1, 1, "c", "current_time", {}, "ok", "", 0.1)])
        await organizations.set_role(tx, firm.admin.actor, code="hr", known=["hr"], enabled=False)
    await world.finish(outcome)
    await plan(world, firm, chat_id)
    channel_id, _ = await dead_letter(world.database, firm.admin.actor)
    await hurry(world.database, firm.admin)
    for _ in ("in_app", "email"):
        async with world.database.as_organization(firm.id) as tx:
            await notifications.plan_due(tx, kinds=frozenset({"in_app", "email"}))
    async with world.database.as_organization(firm.id) as tx:
        bound = Bound(firm.id, channel_id, firm.admin.id)
        browser = Browser("https://push.example/ann", p256dh="BNone", auth="none")
        await notifications.add_browser(
            tx, firm.admin.actor, office=office("web_push"), session_id=signed_in.session_id, browser=browser
        )
        await notifications.ask_edit(tx, bound, message_no=1, draft_id=claim.answer_id)
        await approvals.decide(tx, firm.admin.actor, message_id=claim.answer_id, verdict=Verdict.APPROVE)
    async with owner.transaction():
        await owner.execute("SELECT set_config('app.org_id', $1, true)", str(firm.id))
        for statement in CHECKPOINTS:
            await owner.execute(statement, f"{claim.id}/version")
    return firm


async def plan(world: World, firm: Firm, chat_id: UUID) -> None:
    """Put an event in the calendar and let it happen once, so that a role works."""
    event = await world.event(
        firm.admin, role_code="lawyer", instruction="Напомни.", chat_id=chat_id, notify=(firm.admin.id,)
    )
    async with world.database.as_organization(firm.id) as tx:
        await calendar.fire_now(tx, firm.admin.actor, event_id=event.id, known_roles=SHIPPED)
        day = date(2027, 3, 8)
        await calendar.set_working_days(tx, firm.admin.actor, country="RU", year=day.year, days={day: True})
        await calendar.open_feed(tx, firm.admin.actor)
    await world.claim()


@pytest.fixture
async def towns(world: World, database_url: str) -> AsyncIterator[Towns]:
    owner = await asyncpg.connect(database_url)
    rows = await owner.fetch(
        "SELECT attrelid::regclass::text AS name FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
        " WHERE attname = 'org_id' AND relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    ours, theirs = await fill(world, owner, "Наши"), await fill(world, owner, "Чужие")
    yield Towns(owner, sorted(row["name"] for row in rows), ours, theirs)
    await owner.close()


async def test_an_organization_sees_its_own_rows_in_every_table_and_nobody_elses(towns: Towns) -> None:
    for table in towns.tables:
        everything = await towns.owner.fetchval(f"SELECT count(*) FROM {table}")
        ours, theirs = [await towns.seen(table, firm.id) for firm in (towns.ours, towns.theirs)]

        assert ours > 0, f"{table}: let fill() write a row"
        assert ours + theirs == everything, table
        assert await towns.seen(table, None) == await towns.seen(table, uuid4()) == 0, table


async def test_no_statement_reaches_rows_of_another_organization(towns: Towns) -> None:
    for table in towns.tables:
        for right, statement in (
            ("UPDATE", f"UPDATE {table} SET org_id = org_id"),
            ("DELETE", f"DELETE FROM {table}"),
        ):
            if not await towns.may(table, right):
                continue
            before = await towns.owner.fetchval(f"SELECT count(*) FROM {table}")
            undo = towns.owner.transaction()
            await undo.start()
            await towns.become(uuid4())
            assert (await towns.owner.execute(statement)).endswith(" 0"), f"{statement} touched a row"
            await undo.rollback()
            assert await towns.owner.fetchval(f"SELECT count(*) FROM {table}") == before


async def test_no_row_can_be_written_for_another_organization(towns: Towns) -> None:
    for table in towns.tables:
        columns = await columns_of(towns.owner, table)
        row = await towns.owner.fetchrow(f"SELECT {columns} FROM {table} WHERE org_id = $1", towns.theirs.id)
        assert row is not None
        places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        insert = f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({places})"
        for org_id in (towns.ours.id, None):
            assert await towns.is_refused(org_id, insert, *row.values()), table
        move = f"UPDATE {table} SET org_id = $1"
        assert await towns.is_refused(towns.ours.id, move, towns.theirs.id), table


async def test_no_row_can_point_at_a_row_of_another_organization_not_even_the_owners(towns: Towns) -> None:
    keys = await towns.owner.fetch(
        """
        SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent,
               child.attname AS column, child.attgenerated <> '' AS is_generated, parent.attname AS target
          FROM pg_constraint,
               LATERAL ROWS FROM (unnest(conkey), unnest(confkey)) AS part (child_no, parent_no),
               pg_attribute child, pg_attribute parent
         WHERE contype = 'f' AND connamespace = 'public'::regnamespace
           AND child.attrelid = conrelid AND child.attnum = child_no AND child.attname <> 'org_id'
           AND parent.attrelid = confrelid AND parent.attnum = parent_no
           AND confrelid IN (SELECT attrelid FROM pg_attribute WHERE attname = 'org_id')
        """
    )
    assert len(keys) > 20
    for key in keys:
        child, column = key["child"], "thread_id" if key["is_generated"] else key["column"]
        foreign = await towns.owner.fetchval(
            f"SELECT {key['target']} FROM {key['parent']} WHERE org_id = $1", towns.theirs.id
        )
        value = f"{foreign}/version2" if column == "thread_id" else foreign
        one = f"SELECT ctid FROM {child} WHERE org_id = $2 AND {column} IS NOT NULL LIMIT 1"
        point = f"UPDATE {child} SET {column} = $1 WHERE ctid = ({one})"
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            pytest.fail(f"{child}.{column}: {await towns.owner.execute(point, value, towns.ours.id)}")


async def test_the_application_can_neither_empty_nor_change_a_table(towns: Towns) -> None:
    for table in towns.tables:
        for statement in (
            f"TRUNCATE {table} CASCADE",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"DROP POLICY own_organization ON {table}",
            f"DROP TABLE {table} CASCADE",
        ):
            assert await towns.is_refused(towns.ours.id, statement), statement


async def test_the_application_cannot_become_anybody_mightier(application_url: str) -> None:
    connection = await asyncpg.connect(application_url)

    for statement in (
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "ALTER ROLE rugpt_app BYPASSRLS",
        "ALTER ROLE rugpt_app SUPERUSER",
        "CREATE ROLE sly",
        "CREATE TABLE sly (n int)",
        "CREATE SCHEMA sly",
        "COPY users TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.execute("SET row_security = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT * FROM users")
    await connection.close()


async def test_across_organizations_only_the_granted_columns_are_seen(towns: Towns) -> None:
    everything = [*towns.tables, "organizations", "role_versions"]
    hidden = 0
    for table in everything:
        columns = await towns.owner.fetch(
            "SELECT attname AS name, has_column_privilege($1, attrelid, attnum, 'SELECT') AS is_seen"
            " FROM pg_attribute WHERE attrelid = $2::text::regclass AND attnum > 0",
            ACROSS_ROLE,
            table,
        )
        for column in columns:
            if not column["is_seen"]:
                hidden += 1
                select = f"SELECT {column['name']} FROM {table}"
                assert await towns.is_refused(None, select, role=ACROSS_ROLE), select
        assert not await towns.may(table, "INSERT", ACROSS_ROLE), table
        assert not await towns.may(table, "TRUNCATE", ACROSS_ROLE), table
    seen = {
        table: {
            row["name"]
            for row in await towns.owner.fetch(
                "SELECT attname AS name FROM pg_attribute WHERE attrelid = $2::text::regclass AND attnum > 0"
                " AND has_column_privilege($1, attrelid, attnum, 'SELECT')",
                ACROSS_ROLE,
                table,
            )
        }
        for table in everything
    }

    assert hidden > 50
    for table in ("messages", "chats", "chat_members", "audit_log", "tool_calls", "role_settings"):
        assert seen[table] == set(), table
    assert seen["drafts"] == {"org_id", "message_id", "status", "expires_at"}
    assert seen["calendar_events"] == {"org_id", "id", "status", "next_at"}
    assert seen["calendar_firings"] == {"org_id", "id", "retry_at"}
    assert seen["calendar_feeds"] == {"org_id", "user_id", "token_hash"}
    assert not seen["events"] & {"data", "kind", "channel"}
    assert not seen["run_events"] & {"items"}
    assert not seen["users"] & {"display_name", "role", "timezone"}


async def test_across_organizations_only_the_queues_can_be_changed(towns: Towns) -> None:
    changeable = [
        table
        for table in [*towns.tables, "organizations", "role_versions"]
        if await towns.may(table, "UPDATE", ACROSS_ROLE)
    ]

    assert changeable == ["deliveries", "runs"]
    for column in ("org_id", "asker_id", "chat_id", "answer_id", "role_code", "error_detail", "finished_at"):
        assert await towns.is_refused(None, f"UPDATE runs SET {column} = NULL", role=ACROSS_ROLE), column


async def test_a_pooled_connection_carries_no_organization_to_the_next_caller(
    world: World, database: Database
) -> None:
    firm = await world.organization()

    for _ in range(12):
        async with database.as_organization(firm.id) as tx:
            assert (await organizations.current(tx)).id == firm.id
        with pytest.raises(organizations.OrganizationNotFound):
            async with database.as_organization(uuid4()) as tx:
                await organizations.current(tx)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.across_organizations(reason="a test") as tx:
                await organizations.current(tx)


@pytest.mark.parametrize("sly", ["' OR true --", "x'; SET LOCAL ROLE postgres; --", ""])
async def test_an_organization_is_an_id_and_nothing_else(database: Database, sly: str) -> None:
    with pytest.raises(ValueError):
        async with database.as_organization(sly):  # type: ignore[arg-type]
            pytest.fail("the transaction began")


async def columns_of(owner: asyncpg.Connection, table: str) -> str:
    """Name the columns of a table that can be written."""
    names: str = await owner.fetchval(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
        table,
    )
    return names
