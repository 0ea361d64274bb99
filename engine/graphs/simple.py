"""The graph of most roles: answer, or use tools until there is an answer."""

from dataclasses import replace
from typing import Literal, NotRequired, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from engine.domains.runs import ModelMessage, ToolCall
from engine.graphs.context import RunContext
from engine.graphs.turn import take_turn
from engine.roles import render

MOST_CALLS_AT_ONCE = 8
MOST_REPEATS = 2  # of a step whose tools say nothing new: a small model would go on until its limit


class State(TypedDict):
    """The messages so far, and the tools the model last asked for."""

    messages: tuple[ModelMessage, ...]
    calls: NotRequired[tuple[ToolCall, ...]]
    step: NotRequired[int]
    heard: NotRequired[tuple[str, ...]]
    repeats: NotRequired[int]


class Update(TypedDict):
    """What a node adds."""

    messages: tuple[ModelMessage, ...]
    calls: tuple[ToolCall, ...]
    step: int


class Learnt(Update):
    """What using tools adds: what they have said so far, and how many steps in a row it was nothing new."""

    heard: tuple[str, ...]
    repeats: int


async def think(state: State, runtime: Runtime[RunContext]) -> Command[Literal["act", "__end__"]]:
    """Call the model; then use the tools it wants, or be done."""
    context, messages = runtime.context, state["messages"]
    turn = await take_turn(context, messages, tools=context.tools.specs)
    is_silent = not (turn.text.strip() or turn.calls or turn.cut)
    if is_silent and messages[-1].role == "tool" and not context.changes and context.budget.steps_left:
        # A small model may end where a tool refused. Told of it beside the tool's words it stays silent, and
        # with tools at hand it wants them again: asked as by a person, and without them, it answers.
        wish = ModelMessage("user", render(context.role.common.last_step, {}))
        messages = (*messages, ModelMessage("assistant", ""), wish)
        turn = await take_turn(context, messages)
    if turn.cut:
        raise turn.cut
    calls = turn.calls[:MOST_CALLS_AT_ONCE]
    said = ModelMessage("assistant", turn.text, tool_calls=calls)
    update: Update = {"messages": (*messages, said), "calls": calls, "step": turn.step}
    # Said here and not by a conditional edge, which costs every answer a task more.
    return Command(update=dict(update), goto="act" if calls else "__end__")


async def act(state: State, runtime: Runtime[RunContext]) -> Learnt:
    """Use the tools the model asked for, one after another, and show it what they said."""
    context, step = runtime.context, state["step"]
    results: list[ModelMessage] = []
    heard = state.get("heard", ())
    for call in state["calls"]:
        context.tell("tool", call.name, "started")
        result = await context.tools.call(call, step)
        done = result.outcome == "ok"
        context.tell("tool", call.name, "done" if done else "failed", None if done else result.text[:200])
        results.append(ModelMessage("tool", result.text, tool_call_id=call.id, tool_name=call.name))
        if result.changed and result.text not in context.changes:
            context.changes.append(result.text)
    news = [result.content for result in results if result.content not in heard]
    # Where something was changed, a model that only repeats itself is done, though it does not say so.
    repeats = state.get("repeats", 0) + 1 if context.changes and not news else 0
    common = context.role.common
    is_last = not news or context.budget.steps_left == 1
    if note := common.last_step if is_last else common.changed if context.changes else None:
        # Told where it was looking anyway: a system message this late breaks some models' templates.
        last = results.pop()
        results.append(replace(last, content=f"{last.content}\n\n{render(note, {})}"))
    return {
        "messages": (*state["messages"], *results),
        "calls": (),
        "step": step,
        "heard": (*heard, *news),
        "repeats": repeats,
    }


async def whether_stuck(state: State) -> Literal["goes on", "repeats itself"]:
    """Say whether another call of the model may bring anything new."""
    # Async, though it waits for nothing: LangGraph sends a plain function to a thread and back.
    return "repeats itself" if state.get("repeats", 0) >= MOST_REPEATS else "goes on"


def build() -> CompiledStateGraph[State, RunContext, State, State]:
    """Draw the graph."""
    graph = StateGraph(State, context_schema=RunContext)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("act", whether_stuck, {"goes on": "think", "repeats itself": END})
    return graph.compile(name="simple")
