"""The graph of most roles: answer, or use tools until there is an answer."""

from typing import Literal, NotRequired, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from engine.domains.runs import ModelMessage, ToolCall
from engine.graphs.context import RunContext
from engine.graphs.turn import take_turn
from engine.roles import render

MOST_CALLS_AT_ONCE = 8


class State(TypedDict):
    """The messages so far, and the tools the model last asked for."""

    messages: tuple[ModelMessage, ...]
    calls: NotRequired[tuple[ToolCall, ...]]
    step: NotRequired[int]


class Update(TypedDict):
    """What a node adds."""

    messages: tuple[ModelMessage, ...]
    calls: tuple[ToolCall, ...]
    step: int


async def think(state: State, runtime: Runtime[RunContext]) -> Update:
    """Call the model once."""
    turn = await take_turn(runtime.context, state["messages"], tools=runtime.context.tools.specs)
    if turn.cut:
        raise turn.cut
    calls = turn.calls[:MOST_CALLS_AT_ONCE]
    said = ModelMessage("assistant", turn.text, tool_calls=calls)
    return {"messages": (*state["messages"], said), "calls": calls, "step": turn.step}


async def act(state: State, runtime: Runtime[RunContext]) -> Update:
    """Use the tools the model asked for, one after another, and show it what they said."""
    context, step = runtime.context, state["step"]
    results: list[ModelMessage] = []
    for call in state["calls"]:
        context.tell("tool", call.name, "started")
        result = await context.tools.call(call, step)
        done = result.outcome == "ok"
        context.tell("tool", call.name, "done" if done else "failed", None if done else result.text[:200])
        results.append(ModelMessage("tool", result.text, tool_call_id=call.id, tool_name=call.name))
    if context.budget.steps_left == 1:
        # Told where it was looking anyway: a system message this late breaks some models' templates.
        last = results.pop()
        note = render(context.role.common.last_step, {})
        results.append(
            ModelMessage(
                "tool", f"{last.content}\n\n{note}", tool_call_id=last.tool_call_id, tool_name=last.tool_name
            )
        )
    return {"messages": (*state["messages"], *results), "calls": (), "step": step}


async def whether_done(state: State) -> Literal["wants tools", "has answered"]:
    """Say what the model's last words were."""
    # Async, though it waits for nothing: LangGraph sends a plain function to a thread and back.
    return "wants tools" if state.get("calls") else "has answered"


def build() -> CompiledStateGraph[State, RunContext, State, State]:
    """Draw the graph."""
    graph = StateGraph(State, context_schema=RunContext)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", whether_done, {"wants tools": "act", "has answered": END})
    graph.add_edge("act", "think")
    return graph.compile(name="simple")
