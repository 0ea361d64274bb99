"""The rules of the house that hold in the migrated schema: fences, keys, rights and statements."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from engine.core.database import ACROSS_ROLE, APPLICATION_ROLE
from engine.core.sql import Statement, parse
from scripts.schema_dump import schema_of
from tests.house.tree import ROOT, files, place

# Tables that hold nothing of any organization.
COMMON_TABLES = {
    *("schema_migrations", "role_versions", "checkpoint_migrations"),
    *("telegram_updates", "leases"),  # reached by the role across organizations alone
}
# Tables whose rows nobody may rewrite, whatever the code asks for.
APPEND_ONLY = {
    *("audit_log", "events", "run_events", "tool_calls", "model_calls", "role_versions", "delivery_attempts"),
}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection to a migrated database."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


def test_replaying_all_migrations_gives_the_schema_that_people_read(database_url: str) -> None:
    assert (ROOT / "migrations" / "schema.sql").read_text("utf-8") == schema_of(database_url), (
        "run scripts/docs"
    )


async def test_every_table_belongs_to_an_organization_or_to_nobody(connection: asyncpg.Connection) -> None:
    tables = {row["name"] for row in await tables_of(connection)}
    with_organization = {row["name"] for row in await tables_of(connection) if row["has_org_id"]}

    assert len(with_organization) > 10
    assert tables - with_organization == COMMON_TABLES | {"organizations"}


async def test_every_table_of_an_organization_is_fenced(connection: asyncpg.Connection) -> None:
    unfenced = [
        row["name"]
        for row in await tables_of(connection)
        if row["name"] not in COMMON_TABLES and not (row["enabled"] and row["forced"])
    ]

    assert unfenced == []


async def test_the_application_has_one_policy_per_table_and_it_is_the_fence(
    connection: asyncpg.Connection,
) -> None:
    """Policies are added up by OR, so a second one for the application could only open the fence."""
    policies = await connection.fetch(
        """
        SELECT tablename AS name, qual, with_check, cmd FROM pg_policies
         WHERE schemaname = 'public' AND NOT (roles = ARRAY[$1]::name[])
        """,
        ACROSS_ROLE,
    )
    fenced = sorted(row["name"] for row in await tables_of(connection) if row["name"] not in COMMON_TABLES)

    assert sorted(policy["name"] for policy in policies) == fenced
    for policy in policies:
        column = "id" if policy["name"] == "organizations" else "org_id"
        assert policy["qual"] == f"({column} = current_org())", policy["name"]
        assert policy["with_check"] in (None, policy["qual"]), policy["name"]
        assert policy["cmd"] == "ALL", policy["name"]


async def test_no_row_can_point_into_another_organization(connection: asyncpg.Connection) -> None:
    keys = await connection.fetch(
        """
        SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent, conname,
               (SELECT array_agg(attname::text ORDER BY place)
                  FROM unnest(conkey) WITH ORDINALITY AS k (attnum, place)
                  JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k.attnum) AS columns,
               (SELECT array_agg(attname::text ORDER BY place)
                  FROM unnest(confkey) WITH ORDINALITY AS k (attnum, place)
                  JOIN pg_attribute a ON a.attrelid = confrelid AND a.attnum = k.attnum) AS targets
          FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace
        """
    )
    fenced = {row["name"] for row in await tables_of(connection) if row["has_org_id"]}
    loose = [
        f"{key['child']}.{key['conname']}"
        for key in keys
        if key["child"] in fenced
        and key["parent"] in fenced
        and ("org_id", "org_id") not in zip(key["columns"], key["targets"], strict=True)
    ]
    without_organization = fenced - {key["child"] for key in keys if key["parent"] == "organizations"}

    assert loose == []
    assert without_organization == set()


async def test_primary_keys_lead_with_the_organization(connection: asyncpg.Connection) -> None:
    """So that no lookup walks through another one's rows."""
    strays = await connection.fetch(
        """
        SELECT indexrelid::regclass::text AS name
          FROM pg_index
          JOIN pg_attribute a ON a.attrelid = indrelid AND a.attname = 'org_id'
         WHERE indisprimary AND indkey[0] <> a.attnum
           AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        """
    )

    assert [row["name"] for row in strays] == []


async def test_the_applications_roles_own_nothing_and_pass_no_fence(connection: asyncpg.Connection) -> None:
    roles = [APPLICATION_ROLE, ACROSS_ROLE]
    rights = await connection.fetch(
        """
        SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication AS mighty
          FROM pg_roles WHERE rolname = ANY($1::name[])
        """,
        roles,
    )
    owned = await connection.fetchval(
        """
        SELECT count(*) FROM pg_shdepend
          JOIN pg_roles r ON refclassid = 'pg_authid'::regclass AND refobjid = r.oid
         WHERE deptype = 'o' AND r.rolname = ANY($1::name[])
        """,
        roles,
    )
    creates = await connection.fetch(
        "SELECT r FROM unnest($1::text[]) AS r WHERE has_schema_privilege(r, 'public', 'CREATE')", roles
    )
    inherits = await connection.fetchval("SELECT pg_has_role($1, $2, 'USAGE')", *roles)

    assert {row["rolname"]: row["mighty"] for row in rights} == dict.fromkeys(roles, False)
    assert owned == 0
    assert creates == []
    assert inherits is False, "the application must say when it looks across organizations"


async def test_nothing_runs_or_reads_with_its_owners_rights(connection: asyncpg.Connection) -> None:
    """A view or function of the owner would see through every fence."""
    functions = await connection.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    views = await connection.fetch(
        """
        SELECT relname FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
           AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)
        """
    )

    assert functions == []
    assert views == []


async def test_history_cannot_be_rewritten_by_the_application(connection: asyncpg.Connection) -> None:
    rewritable = await connection.fetch(
        """
        SELECT t FROM unnest($1::text[]) AS t
         WHERE has_any_column_privilege($2, t, 'UPDATE') OR has_table_privilege($2, t, 'DELETE, TRUNCATE')
        """,
        sorted(APPEND_ONLY),
        APPLICATION_ROLE,
    )

    assert [row["t"] for row in rewritable] == []


async def test_an_unset_organization_sees_nothing_and_a_set_one_sees_itself(
    connection: asyncpg.Connection,
) -> None:
    org_id = uuid4()
    await connection.execute(f"SET ROLE {APPLICATION_ROLE}")
    await connection.execute("SELECT set_config('app.org_id', $1, false)", str(org_id))
    await connection.execute("INSERT INTO organizations (name, slug) VALUES ('Ромашка', 'romashka')")
    of_its_own = await connection.fetchval("SELECT count(*) FROM organizations")

    await connection.execute("SELECT set_config('app.org_id', '', false)")
    of_nobody = await connection.fetchval("SELECT count(*) FROM organizations")
    await connection.execute("SELECT set_config('app.org_id', $1, false)", str(uuid4()))
    of_another = await connection.fetchval("SELECT count(*) FROM organizations")

    assert (of_its_own, of_nobody, of_another) == (1, 0, 0)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("INSERT INTO event_counters (org_id) VALUES ($1)", org_id)


async def test_every_statement_fits_the_schema_and_the_applications_rights(
    connection: asyncpg.Connection,
) -> None:
    """Explaining a statement checks its rights as well; preparing it would not."""
    statements = named_statements()
    problems = [
        f"{where}: {problem}"
        for where, statement in statements.items()
        if (problem := await why_it_cannot_run(connection, statement))
    ]

    assert len(statements) > 40
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT hobby FROM users", "UndefinedColumnError"),
        ("DELETE FROM audit_log WHERE org_id = :org_id", "InsufficientPrivilegeError"),
        ("SELECT body FROM letters", "UndefinedTableError"),
    ],
)
async def test_the_statement_test_knows_a_bad_one(
    connection: asyncpg.Connection, text: str, problem: str
) -> None:
    statement = parse(f"-- name: bad\n-- It does not fit.\n{text};")["bad"]

    assert (await why_it_cannot_run(connection, statement) or "").startswith(problem)


def named_statements() -> dict[str, Statement]:
    """Return every named statement of the engine, by its place."""
    return {
        f"{place(path)} {name}": statement
        for path in files()
        if path.name == "queries.sql"
        for name, statement in parse(path.read_text("utf-8")).items()
    }


async def why_it_cannot_run(connection: asyncpg.Connection, statement: Statement) -> str | None:
    """Try a statement as the application, then as its cross-organization role; nothing is carried out."""
    problem = None
    for role in (APPLICATION_ROLE, ACROSS_ROLE):
        await connection.execute(f"SET ROLE {role}")
        try:
            await connection.prepare(statement.text)
            if statement.text.split(maxsplit=1)[0].upper() in {
                "SELECT",
                "INSERT",
                "UPDATE",
                "DELETE",
                "WITH",
            }:
                await connection.execute(f"EXPLAIN (GENERIC_PLAN) {statement.text}")
        except asyncpg.PostgresError as error:
            problem = problem or f"{type(error).__name__}: {error}"
        else:
            return None
        finally:
            await connection.execute("RESET ROLE")
    return problem


async def tables_of(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """Return every table: its name, whether it has org_id, and its fence."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        SELECT relname AS name, relrowsecurity AS enabled, relforcerowsecurity AS forced,
               EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'org_id'
                          AND attnotnull AND NOT attisdropped) AS has_org_id
          FROM pg_class c
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        """
    )
    return rows
