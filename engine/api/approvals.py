"""Signing what roles wrote."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from engine.api.caller import Authenticated
from engine.api.chats import MOST_CHARACTERS
from engine.api.messages import MessageView, message_view
from engine.api.views import Body, Page, View
from engine.core.cursor import decode_cursor, encode_cursor
from engine.domains import approvals, chats
from engine.domains.approvals import Draft, DraftStatus, Verdict

router = APIRouter(tags=["approvals"])


class Sign(Body):
    """`content` is the new text of an edit; `comment` may say why."""

    verdict: Verdict
    content: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)] | None = None
    comment: Annotated[str, Field(max_length=4_000)] | None = None


class ApprovalView(View):
    """A draft that I may sign, or might have."""

    message: MessageView
    run_id: UUID
    role: str
    asker_id: UUID
    opened_at: datetime


class ApprovalCount(View):
    pending: int


@router.post("/messages/{message_id}/validation")
async def validate_message(message_id: UUID, sign: Sign, caller: Authenticated) -> MessageView:
    """Approve, edit or reject a draft. One verdict wins: the others get 409 with the outcome."""
    async with caller.transaction() as tx:
        await approvals.decide(
            tx,
            caller.actor,
            message_id=message_id,
            verdict=sign.verdict,
            content=sign.content,
            comment=sign.comment,
        )
        draft, _ = await approvals.get_draft(tx, caller.actor, message_id=message_id)
        message = (await chats.messages_by_ids(tx, [message_id]))[message_id]
    return message_view(message, draft, may_read_withdrawn=True)


@router.get("/approvals")
async def list_approvals(
    caller: Authenticated,
    status: Literal["pending", "approved", "edited", "rejected", "expired", "superseded", "all"] = "pending",
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> Page[ApprovalView]:
    """List the drafts that I may sign, across chats, newest first."""
    before = None
    if cursor is not None:
        place = decode_cursor(cursor, at=datetime, id=UUID)
        before = (place["at"], place["id"])
    wanted: DraftStatus | None = "draft" if status == "pending" else None if status == "all" else status
    async with caller.transaction() as tx:
        page = await approvals.list_drafts(tx, caller.actor, status=wanted, before=before, limit=limit + 1)
        messages = await chats.messages_by_ids(tx, [draft.message_id for draft in page])
    items = [
        ApprovalView(
            message=message_view(messages[draft.message_id], draft, may_read_withdrawn=True),
            run_id=draft.run_id,
            role=draft.role_code,
            asker_id=draft.asker_id,
            opened_at=draft.opened_at,
        )
        for draft in page[:limit]
    ]
    return Page(items=items, next_cursor=_next(page, limit))


@router.get("/approvals/count")
async def count_approvals(caller: Authenticated) -> ApprovalCount:
    """Count the drafts that wait for me, up to a thousand."""
    async with caller.transaction() as tx:
        return ApprovalCount(pending=await approvals.count_drafts(tx, caller.actor))


def _next(page: list[Draft], limit: int) -> str | None:
    if len(page) <= limit:
        return None
    last = page[limit - 1]
    return encode_cursor({"at": last.opened_at, "id": last.message_id})
