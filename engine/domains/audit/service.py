"""The one verb of this room."""

from typing import Any
from uuid import UUID

from engine.core.database import Transaction
from engine.core.sql import load

SQL = load(__file__)


async def record(
    tx: Transaction, *, actor_id: UUID | None, action: str, subject_id: UUID | None = None, **data: Any
) -> None:
    """Append a line; `action` reads like `user.deactivated`, `actor_id` None means the engine itself."""
    await tx.run(SQL.append_line, actor_id=actor_id, action=action, subject_id=subject_id, data=data)
