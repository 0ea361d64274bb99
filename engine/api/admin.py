"""What administrators watch: which runs wait and work, and which models answer."""

from uuid import UUID

from fastapi import APIRouter

from engine.api.caller import Authenticated
from engine.api.messages import RunView, run_view
from engine.api.views import Page, View
from engine.domains import runs, users
from engine.domains.runs import RunNow

router = APIRouter(prefix="/admin", tags=["admin"])


class RunNowView(RunView):
    """A run of the organization that waits or works; its words are for those in its chat."""

    worker: str | None
    attempts: int
    is_stopping: bool


class ModelStateView(View):
    """Which model answers, why it was chosen, and what keeps it away."""

    ready: bool
    provider: str | None = None
    name: str | None = None
    reason: str | None = None
    detail: str | None = None
    workers: int | None = None  # seen lately, where runs are worked in other processes


@router.get("/runs")
async def list_runs(caller: Authenticated) -> Page[RunNowView]:
    """List the runs of my organization: those that work, then those that wait, the oldest first."""
    async with caller.transaction() as tx:
        now = await runs.runs_now(tx, caller.actor)
    return Page(items=[_view(each) for each in now], next_cursor=None)


@router.post("/runs/{run_id}/cancel", status_code=202)
async def cancel_run(run_id: UUID, caller: Authenticated) -> None:
    """Stop a run of my organization, also of a chat that I am not in."""
    async with caller.transaction() as tx:
        await runs.cancel_any(tx, caller.actor, run_id=run_id)


@router.get("/models")
async def show_model(caller: Authenticated) -> ModelStateView:
    """Show the model that answers, and how it is."""
    users.require_admin(caller.actor)
    state = caller.engine.model_state()
    return ModelStateView(**{name: state[name] for name in ModelStateView.model_fields if name in state})


def _view(now: RunNow) -> RunNowView:
    return RunNowView(
        **run_view(now.run).model_dump(),
        worker=now.worker,
        attempts=now.attempts,
        is_stopping=now.is_stopping,
    )
