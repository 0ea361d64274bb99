"""Runs: how far a role is, and stopping or repeating it."""

from uuid import UUID

from fastapi import APIRouter

from engine.api.caller import Authenticated
from engine.api.messages import RunView, ToolUseView, run_view
from engine.api.streams import may_read_words
from engine.api.views import Page
from engine.domains import runs

router = APIRouter(prefix="/runs", tags=["runs"])


@router.get("")
async def list_runs(caller: Authenticated, chat_id: UUID | None = None) -> Page[RunView]:
    """List what waits and works in my chats; of one chat also what ended without an answer, newest first."""
    async with caller.transaction() as tx:
        found = await runs.unanswered_runs(tx, caller.actor, chat_id=chat_id)
    return Page(items=[run_view(run) for run in found], next_cursor=None)


@router.get("/{run_id}")
async def get_run(run_id: UUID, caller: Authenticated) -> RunView:
    """Show a run of a chat that I am in."""
    async with caller.transaction() as tx:
        run = await runs.get_run(tx, caller.actor, run_id=run_id)
    return run_view(run)


@router.get("/{run_id}/steps")
async def run_steps(run_id: UUID, caller: Authenticated) -> Page[ToolUseView]:
    """List the tools that a run has used, while its answer is mine to read."""
    async with caller.transaction() as tx:
        run = await runs.get_run(tx, caller.actor, run_id=run_id)
        uses = await runs.tool_uses(tx, run_id=run_id) if await may_read_words(tx, caller, run) else []
    return Page(items=[ToolUseView.model_validate(use) for use in uses], next_cursor=None)


@router.post("/{run_id}/cancel")
async def cancel_run(run_id: UUID, caller: Authenticated) -> RunView:
    """Stop a run: a waiting one at once, one at work within a second."""
    async with caller.transaction() as tx:
        run = await runs.cancel(tx, caller.actor, run_id=run_id)
    return run_view(run)


@router.post("/{run_id}/retry")
async def retry_run(run_id: UUID, caller: Authenticated) -> RunView:
    """Try a run again that failed or was cancelled."""
    async with caller.transaction() as tx:
        run = await runs.retry(tx, caller.actor, run_id=run_id)
    return run_view(run)
