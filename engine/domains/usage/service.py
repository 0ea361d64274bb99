"""Keeps count of model calls."""

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.usage.models import ModelCall

SQL = load(__file__)


async def record_calls(tx: Transaction, calls: list[ModelCall]) -> None:
    """Keep what the models used, all in one statement."""
    if not calls:
        return
    await tx.run(
        SQL.insert_calls,
        run_ids=[call.run_id for call in calls],
        fences=[call.fence for call in calls],
        steps=[call.step for call in calls],
        user_ids=[call.user_id for call in calls],
        role_codes=[call.role_code for call in calls],
        providers=[call.provider for call in calls],
        models=[call.model for call in calls],
        input_tokens=[call.input_tokens for call in calls],
        output_tokens=[call.output_tokens for call in calls],
        estimated=[call.estimated for call in calls],
        first_token_ms=[call.first_token_ms for call in calls],
        total_ms=[call.total_ms for call in calls],
    )
