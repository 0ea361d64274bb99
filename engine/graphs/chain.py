"""The graph of a role that works in steps: each sees what came before, only the last one speaks."""

from typing import Literal, NotRequired, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from engine.domains.runs import ModelGarbled, ModelMessage
from engine.graphs.context import RunContext
from engine.graphs.running import converse
from engine.graphs.words import fill, with_task
from engine.roles import render


class State(TypedDict):
    """The messages to answer, and what each finished step said."""

    messages: tuple[ModelMessage, ...]
    results: NotRequired[tuple[str, ...]]


async def take_step(state: State, runtime: Runtime[RunContext]) -> State:
    """Do the next step of the chain."""
    context, results = runtime.context, state.get("results", ())
    steps = context.role.steps
    number, step = len(results), steps[len(results)]
    speaker = context if number == len(steps) - 1 else context.quiet()
    done = [f"{old.name.ru}:\n{text}" for old, text in zip(steps, results, strict=False)]
    task = render(
        context.role.common.chain_step,
        {
            "number": str(number + 1),
            "total": str(len(steps)),
            "name": step.name.ru,
            "task": fill(step.prompt, context),
            "previous": "\n\n".join(done) or "пока ничего",
        },
    )

    context.tell("step", step.code, "started")
    try:
        await converse(speaker, with_task(state["messages"], task))
    except BaseException:
        context.tell("step", step.code, "failed")
        raise
    text = "".join(speaker.said)
    if not text.strip():
        raise ModelGarbled(f"The model said nothing in step {step.code}.")
    context.tell("step", step.code, "done")
    return {"messages": state["messages"], "results": (*results, text)}


async def whether_done(state: State, runtime: Runtime[RunContext]) -> Literal["has more steps", "is done"]:
    """Say whether a step is left to do."""
    done = len(state.get("results", ())) == len(runtime.context.role.steps)
    return "is done" if done else "has more steps"


def build() -> CompiledStateGraph[State, RunContext, State, State]:
    """Draw the graph."""
    graph = StateGraph(State, context_schema=RunContext)
    graph.add_node("take_step", take_step)
    graph.add_edge(START, "take_step")
    graph.add_conditional_edges("take_step", whether_done, {"has more steps": "take_step", "is done": END})
    return graph.compile(name="chain")
