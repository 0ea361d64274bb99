"""The graph of a role that convenes others: pick them, hear them at once, write one draft."""

import json
import operator
import re
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from engine.core.errors import Conflict, Refusal
from engine.domains.runs import ModelGarbled, ModelMessage
from engine.graphs.context import RunContext
from engine.graphs.limits import LimitReached, limit_message
from engine.graphs.running import seconds_for_others, work
from engine.graphs.turn import take_turn
from engine.graphs.words import describe_roles, with_task
from engine.roles import Role, render

MOST_MEMBERS = 5
TOKENS_TO_PICK = 200

# What members may write together, of what is left; the rest is for the draft.
TOKENS_FOR_MEMBERS = 2 / 3


class NoMembers(Conflict):
    code = "no_members"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one member said, and what kept it from saying more."""

    role: Role
    text: str
    failure: Exception | None = None


class State(TypedDict):
    """The messages to answer, who was picked, and what they said."""

    messages: tuple[ModelMessage, ...]
    picked: NotRequired[tuple[Role, ...]]
    opinions: Annotated[list[Opinion], operator.add]


class Picked(TypedDict):
    """Who shall be heard."""

    picked: tuple[Role, ...]


class Heard(TypedDict):
    """What was heard."""

    opinions: list[Opinion]


class Invitation(TypedDict):
    """Who is asked, and what it may use up."""

    role: Role
    steps: int
    tokens: int


async def pick(state: State, runtime: Runtime[RunContext]) -> Picked:
    """Choose whom to hear; whoever is asked in vain for a choice chooses all."""
    context = runtime.context
    found = (context.find_role(code) for code in context.role.members)
    members = [role for role in found if role is not None and role.code not in context.lineage]
    if not members:
        raise NoMembers("None of this role's members may be called here.", role=context.role.code)
    if len(members) == 1:
        return {"picked": tuple(members)}

    context.tell("step", "pick", "started")
    codes = [role.code for role in members]
    told = render(context.role.common.supervisor, {"members": describe_roles(members)})
    turn = await take_turn(
        context.quiet(),
        (ModelMessage("system", told), *context.conversation),
        most_tokens=TOKENS_TO_PICK,
        json_schema=_schema(codes),
        temperature=0.0,
    )
    context.tell("step", "pick", "done")
    wanted = read_choice(turn.text, codes)
    return {"picked": tuple(role for role in members if role.code in wanted)[:MOST_MEMBERS]}


def invite(state: State, runtime: Runtime[RunContext]) -> list[Send]:
    """Ask those who were picked, all at once; each gets its part of what is left."""
    picked, budget = state.get("picked", ()), runtime.context.budget
    steps = (budget.steps_left - 1) // len(picked)  # One is for the draft.
    tokens = int(budget.tokens_left * TOKENS_FOR_MEMBERS) // len(picked)
    return [Send("hear", Invitation(role=role, steps=steps, tokens=tokens)) for role in picked]


async def hear(state: Invitation, runtime: Runtime[RunContext]) -> Heard:
    """Let one member answer on its own; its failure is an opinion too."""
    context, role = runtime.context, state["role"]
    budget = context.budget.share(role.limits, steps=state["steps"], tokens=state["tokens"])
    member = context.as_role(role, context.conversation, budget)
    failure: Exception | None = None
    context.tell("member", role.code, "started")
    try:
        failure = await work(member, seconds_for_others(context, member))
    except Refusal as refusal:
        failure = refusal
    text = "".join(member.said).strip()
    if not text and failure is None:
        failure = ModelGarbled(f"The member {role.code} said nothing.")
    context.tell("member", role.code, "failed" if failure else "done")
    return {"opinions": [Opinion(role, text, failure)]}


async def draft(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write one draft of all opinions, aloud; raise the first failure when there are no opinions."""
    context = runtime.context
    order = [role.code for role in state.get("picked", ())]
    opinions = sorted(state["opinions"], key=lambda opinion: order.index(opinion.role.code))
    heard = [opinion for opinion in opinions if opinion.text]
    if not heard:
        raise next(failure for opinion in opinions if (failure := opinion.failure))

    told = render(
        context.role.common.synthesis,
        {
            "opinions": "\n\n".join(_quote(opinion, context) for opinion in heard),
            "failures": ", ".join(_name(opinion) for opinion in opinions if not opinion.text)
            or "ответили все",
        },
    )
    context.tell("step", "draft", "started")
    turn = await take_turn(context, with_task(state["messages"], told))
    context.tell("step", "draft", "failed" if turn.cut else "done")
    if turn.cut:
        raise turn.cut
    return {}


def read_choice(text: str, codes: list[str]) -> list[str]:
    """Find the members a supervisor named; all of them when it named none that there are."""
    named: list[Any] = []
    for found in re.finditer(r"\{[^{}]*\}|\[[^\[\]]*\]", text):
        try:
            value = json.loads(found[0])
        except ValueError:
            continue
        value = value.get("members") if isinstance(value, dict) else value
        if isinstance(value, list):
            named = value
            break
    chosen = [code for code in codes if code in [str(name).strip().casefold() for name in named]]
    return chosen or codes


def build() -> CompiledStateGraph[State, RunContext, State, State]:
    """Draw the graph."""
    graph = StateGraph(State, context_schema=RunContext)
    graph.add_node("pick", pick)
    graph.add_node("hear", hear)
    graph.add_node("draft", draft)
    graph.add_edge(START, "pick")
    graph.add_conditional_edges("pick", invite, ["hear"])
    graph.add_edge("hear", "draft")
    graph.add_edge("draft", END)
    return graph.compile(name="multi_agent")


def _schema(codes: list[str]) -> dict[str, Any]:
    members = {"type": "array", "items": {"type": "string", "enum": codes}, "minItems": 1}
    return {
        "type": "object",
        "properties": {"members": members},
        "required": ["members"],
        "additionalProperties": False,
    }


def _name(opinion: Opinion) -> str:
    return f"{opinion.role.name.ru} ({opinion.role.code})"


def _quote(opinion: Opinion, context: RunContext) -> str:
    text = f"### {_name(opinion)}\n{opinion.text}"
    if isinstance(opinion.failure, LimitReached):
        return f"{text}\n\n{limit_message(opinion.role, opinion.failure, context.locale)}"
    return f"{text}\n\n(Мнение оборвалось и может быть неполным.)" if opinion.failure else text
