"""The table of drafts."""

from datetime import datetime
from uuid import UUID

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.approvals.models import Draft, DraftStatus
from engine.domains.runs import Outcome

SQL = load(__file__)


async def open_drafts(tx: Transaction, outcomes: list[Outcome]) -> list[Draft]:
    """Add a draft for each answer."""
    rows = await tx.all(
        SQL.open_drafts,
        message_ids=[outcome.claim.answer_id for outcome in outcomes],
        chat_ids=[outcome.claim.chat_id for outcome in outcomes],
        run_ids=[outcome.claim.id for outcome in outcomes],
        role_codes=[outcome.claim.role_code for outcome in outcomes],
        asker_ids=[outcome.claim.asker_id for outcome in outcomes],
        approvers=[outcome.approvers for outcome in outcomes],
        hours=[outcome.sign_within_hours for outcome in outcomes],
    )
    return [Draft(**row) for row in rows]


async def overdue(tx: Transaction, *, count: int) -> dict[UUID, list[UUID]]:
    """Return drafts that nobody signed in time, by organization."""
    found: dict[UUID, list[UUID]] = {}
    for row in await tx.all(SQL.overdue, count=count):
        found.setdefault(row["org_id"], []).append(row["message_id"])
    return found


async def expire(tx: Transaction, *, message_ids: list[UUID]) -> list[Draft]:
    """End drafts that nobody signed in time; return those that were still waiting."""
    return [Draft(**row) for row in await tx.all(SQL.expire, message_ids=message_ids)]


async def decide(
    tx: Transaction,
    *,
    message_id: UUID,
    status: DraftStatus,
    decided_by: UUID,
    comment: str | None,
    original: str | None,
    edited: str | None,
) -> Draft | None:
    """Set a draft's outcome, or return None when it has one."""
    row = await tx.maybe(
        SQL.decide,
        message_id=message_id,
        status=status,
        decided_by=decided_by,
        comment=comment,
        original=original,
        edited=edited,
    )
    return Draft(**row) if row else None


async def drafts_by_messages(tx: Transaction, message_ids: list[UUID]) -> list[Draft]:
    """Return the drafts under some messages."""
    return [Draft(**row) for row in await tx.all(SQL.drafts_by_messages, message_ids=message_ids)]


async def find_draft(tx: Transaction, *, message_id: UUID) -> Draft | None:
    """Return the draft under a message of a chat that is still there."""
    row = await tx.maybe(SQL.draft_in_chat, message_id=message_id)
    return Draft(**row) if row else None


async def drafts_for_signer(
    tx: Transaction,
    *,
    user_id: UUID,
    username: str,
    is_admin: bool,
    chat_ids: list[UUID],
    status: DraftStatus | None,
    before_at: datetime | None,
    before_id: UUID | None,
    count: int,
) -> list[Draft]:
    """Return a page of the drafts that a person may sign."""
    rows = await tx.all(
        SQL.drafts_for_signer,
        user_id=user_id,
        username=username,
        is_admin=is_admin,
        chat_ids=chat_ids,
        status=status,
        before_at=before_at,
        before_id=before_id,
        count=count,
    )
    return [Draft(**row) for row in rows]


async def count_for_signer(
    tx: Transaction, *, user_id: UUID, username: str, is_admin: bool, chat_ids: list[UUID], most: int
) -> int:
    """Count the drafts that wait for a person, up to so many."""
    row = await tx.one(
        SQL.count_for_signer,
        user_id=user_id,
        username=username,
        is_admin=is_admin,
        chat_ids=chat_ids,
        most=most,
    )
    return int(row["found"])
