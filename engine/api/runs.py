"""Runs: how far a role is, and stopping or repeating it."""

from uuid import UUID

from fastapi import APIRouter

from engine.api.caller import Authenticated
from engine.api.messages import RunView, run_view
from engine.domains import runs

router = APIRouter(prefix="/runs", tags=["runs"])


@router.get("/{run_id}")
async def get_run(run_id: UUID, caller: Authenticated) -> RunView:
    """Show a run of a chat that I am in."""
    async with caller.transaction() as tx:
        run = await runs.get_run(tx, caller.actor, run_id=run_id)
    return run_view(run)


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
