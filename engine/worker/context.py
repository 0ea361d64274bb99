"""Binds one attempt to what its graph may reach."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

from engine import graphs
from engine.core.database import Database
from engine.domains import chats
from engine.domains.runs import ChatModel, Claim
from engine.domains.users import Actor
from engine.roles import Catalogue, Role
from engine.tools import FoundMessage, Registry, ToolContext, Workplace
from engine.worker.attempt import Attempt
from engine.worker.briefing import Briefing, speaker, without_role_marks


def run_context(
    attempt: Attempt,
    briefing: Briefing,
    role: Role,
    *,
    roles: Catalogue,
    model: ChatModel,
    tools: Registry,
    database: Database,
    searches: asyncio.Semaphore,
    call_tokens: int,
    checkpoints: graphs.Checkpoints | None,
    say: Callable[[str], None],
    step: Callable[[], None],
) -> graphs.RunContext:
    """Return what the role's graph works with; `step` is called when there is a step to be written."""
    asker = briefing.asker
    now = datetime.now(UTC).astimezone(ZoneInfo(asker.timezone))
    tool_context = ToolContext(
        now=now,
        timezone=asker.timezone,
        locale=asker.locale,
        search_messages=lambda query, limit: _search(database, searches, roles, attempt.claim, query, limit),
        record=attempt.record_tool,
        workplace=Workplace(
            transaction=partial(database.as_organization, attempt.claim.org_id),
            actor=Actor(attempt.claim.org_id, asker.id, asker.role),
            chat_id=attempt.claim.chat_id,
            run_id=attempt.claim.id,
            roles=roles,
            said_at=briefing.said_at,
        ),
    )

    def find_role(code: str) -> Role | None:
        return roles.get(code) if briefing.is_enabled(code) else None

    def report(event: dict[str, object]) -> None:
        attempt.report(event)
        step()

    return graphs.RunContext(
        role=role,
        find_role=find_role,
        model=model,
        organization=briefing.organization,
        asker=asker.display_name,
        chat_title=briefing.chat_title,
        locale=asker.locale,
        timezone=asker.timezone,
        now=now,
        conversation=briefing.conversation,
        tools=tools.open(role.tools, tool_context),
        say=say,
        report=report,
        record_use=attempt.record_use,
        instruction=briefing.instruction_of(role.code),
        instructions=briefing.instructions(),
        colleagues=tuple(
            other for other in roles.all() if other is not role and briefing.is_enabled(other.code)
        ),
        call_tokens=call_tokens,
        checkpoints=checkpoints,
    )


async def _search(
    database: Database, searches: asyncio.Semaphore, roles: Catalogue, claim: Claim, query: str, limit: int
) -> list[FoundMessage]:
    """Search the chat in which the role was called: what everyone in the room may read, and no more."""
    # Two at once: a search reads much, and the database has others to serve. The tool's own time limit
    # ends whoever waits too long here or there.
    async with searches, database.as_organization(claim.org_id) as tx:
        found = await chats.search_messages(tx, chat_id=claim.chat_id, query=query, limit=limit)
    return [
        FoundMessage(line.no, speaker(line, roles), line.said_at, without_role_marks(line.content))
        for line in found
    ]
