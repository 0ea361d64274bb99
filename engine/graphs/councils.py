"""Lets a council go on where an earlier attempt was killed, instead of asking everybody again."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from engine.graphs.context import RunContext

T = TypeVar("T")

_NOTHING_YET = {"opinions": [], "steps": 0, "tokens": 0}


async def go_on_or_begin(graph: Any, context: RunContext, config: dict[str, Any]) -> None:
    """Let a council sit: from its last finished step if one was kept, else from the beginning.

    Whoever was in the middle of a sentence is asked again; those who had finished are not. What they
    used up counts. Steps that another version of the role took are not gone on with.
    """
    if context.checkpoints is None:
        await graph.ainvoke(_NOTHING_YET, config, context=context)
        return
    async with context.checkpoints.open() as saver:
        if saver is None:
            await graph.ainvoke(_NOTHING_YET, config, context=context)
            return
        thread = f"{context.checkpoints.run_id}/{context.role.version}"
        config = {**config, "configurable": {"thread_id": thread}}
        graph = graph.copy({"checkpointer": saver})
        kept = (await graph.aget_state(config)).values
        if kept:
            context.budget.restore(steps=kept["steps"], tokens=kept["tokens"])
        # Synchronous: a step is on disk before the next one begins, so what is kept has no gaps.
        state = await graph.ainvoke(
            None if kept else _NOTHING_YET, config, context=context, durability="sync"
        )
        if kept and not context.said:
            context.utter(state["draft"])  # It was written by then, and only its end was not recorded.


async def on_its_own(work: Coroutine[Any, Any, T]) -> T:
    """Do work within a node whose graphs do not know that they are within one.

    LangGraph hands a graph's place to keep steps down to every graph that its nodes run. What a member
    does is one step of the council; its messages and tools have no business on disk.
    """
    from langchain_core.runnables.config import set_config_context

    with set_config_context({}) as inside:
        return await asyncio.create_task(work, context=inside)
