"""LangGraph's saver on one connection that belongs to one organization; import it where it is needed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg.rows import DictRow, dict_row

from engine.core.database import APPLICATION_ROLE
from engine.core.logging import log

CONNECT_SECONDS = 5
# What a database that restarts does to those who use it.
AWAY = (psycopg.OperationalError, psycopg.InterfaceError)


class CheckpointSaver(AsyncPostgresSaver):
    """Keeps steps as long as it can: once the database is away, nothing more is kept and nothing fails.

    Whatever was kept until then is whole, because every step was on disk before the next one began.
    """

    def __init__(self, connection: psycopg.AsyncConnection[DictRow], org_id: UUID) -> None:
        # Rows are data, whoever wrote them: no name in a blob is imported and nothing in it is called.
        super().__init__(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=()))
        self._connection = connection
        self._org_id = org_id

    async def close(self) -> None:
        """Give the connection back."""
        await self._connection.close()

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return what was kept last; None as well when the database went away."""
        async with self._while_there():
            return await super().aget_tuple(config)
        return None

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a step."""
        async with self._while_there():
            return await super().aput(config, checkpoint, metadata, new_versions)
        return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what one node of a step came to."""
        async with self._while_there():
            await super().aput_writes(config, writes, task_id, task_path)

    @asynccontextmanager
    async def _while_there(self) -> AsyncIterator[None]:
        was_there = not self._connection.closed
        try:
            yield
        except AWAY as away:
            if was_there:
                _warn(self._org_id, away)
            await self._connection.close()  # A gap in what is kept would be worse than an early end.


async def connect(url: str, org_id: UUID) -> CheckpointSaver | None:
    """Connect as one organization; None, and a line in the log, when the database cannot be reached."""
    try:
        connection = await psycopg.AsyncConnection.connect(
            url,
            # The role owns nothing, and the fence stands for as long as the connection does.
            options=f"-c role={APPLICATION_ROLE} -c app.org_id={UUID(str(org_id))} -c jit=off",
            application_name="rugpt checkpoints",
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,
            prepare_threshold=None,  # Too few statements to be worth it, and a pooler may not keep them.
            row_factory=dict_row,
        )
    except AWAY as away:
        _warn(org_id, away)
        return None
    return CheckpointSaver(connection, org_id)


def _warn(org_id: UUID, away: Exception) -> None:
    log.warning("checkpoints_not_kept", org_id=str(org_id), error=repr(away))
