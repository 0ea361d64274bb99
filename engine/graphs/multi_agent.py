"""The graph of a role that convenes others: pick them, hear them at once, write one draft."""

import json
import operator
import re
from typing import Annotated, Any, NotRequired, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from engine.core.errors import Conflict, Refusal
from engine.domains.runs import ModelGarbled, ModelMessage
from engine.graphs.context import RunContext
from engine.graphs.councils import on_its_own
from engine.graphs.failures import Failure, as_data, as_error
from engine.graphs.limits import LimitReached, limit_message
from engine.graphs.running import UnknownColleague, seconds_for_others, work
from engine.graphs.turn import take_turn
from engine.graphs.words import describe_roles, system_message, with_task
from engine.roles import Role, render

MOST_MEMBERS = 5
TOKENS_TO_PICK = 200

# What members may write together, of what is left; the rest is for the draft.
TOKENS_FOR_MEMBERS = 2 / 3


class NoMembers(Conflict):
    code = "no_members"


class Opinion(TypedDict):
    """What one member said, what to note under it, and what kept it from saying more."""

    role: str
    name: str
    text: str
    note: str
    failure: Failure | None


class State(TypedDict):
    """Who was picked, what they said, the draft, and the model calls and tokens that all this took.

    Plain data only: it is kept on disk after each step, and read by whoever takes the run over.
    """

    picked: NotRequired[list[str]]
    opinions: Annotated[list[Opinion], operator.add]
    draft: NotRequired[str]
    steps: Annotated[int, operator.add]
    tokens: Annotated[int, operator.add]


class Picked(TypedDict):
    """Who shall be heard."""

    picked: list[str]
    steps: int
    tokens: int


class Heard(TypedDict):
    """What was heard."""

    opinions: list[Opinion]
    steps: int
    tokens: int


class Drafted(TypedDict):
    """What was said aloud."""

    draft: str


class Invitation(TypedDict):
    """Who is asked, and what it may use up."""

    role: str
    steps: int
    tokens: int


async def pick(state: State, runtime: Runtime[RunContext]) -> Picked:
    """Choose whom to hear; whoever is asked in vain for a choice chooses all."""
    context = runtime.context
    found = (context.find_role(code) for code in context.role.members)
    members = [role for role in found if role is not None and role.code not in context.lineage]
    if not members:
        raise NoMembers("None of this role's members may be called here.", role=context.role.code)
    codes = [role.code for role in members]
    if len(members) > 1:
        wanted = read_choice(await _ask_whom_to_hear(context, members), codes)
        codes = [code for code in codes if code in wanted][:MOST_MEMBERS]
    return {"picked": codes, "steps": context.budget.steps_used, "tokens": context.budget.tokens_used}


def invite(state: State, runtime: Runtime[RunContext]) -> list[Send]:
    """Ask those who were picked, all at once; each gets its part of what is left."""
    picked, budget = state.get("picked", []), runtime.context.budget
    steps = (budget.steps_left - 1) // len(picked)  # One is for the draft.
    tokens = int(budget.tokens_left * TOKENS_FOR_MEMBERS) // len(picked)
    return [Send("hear", Invitation(role=code, steps=steps, tokens=tokens)) for code in picked]


async def hear(state: Invitation, runtime: Runtime[RunContext]) -> Heard:
    """Let one member answer on its own; its failure is an opinion too."""
    context, role = runtime.context, runtime.context.find_role(state["role"])
    if role is None:  # It was picked, and switched off before somebody took the run over.
        gone = UnknownColleague(f"The member {state['role']} is not there any more.")
        nothing = Opinion(role=state["role"], name=state["role"], text="", note="", failure=as_data(gone))
        return {"opinions": [nothing], "steps": 0, "tokens": 0}

    budget = context.budget.share(role.limits, steps=state["steps"], tokens=state["tokens"])
    member = context.as_role(role, context.conversation, budget)
    failure: Refusal | LimitReached | None = None
    context.tell("member", role.code, "started")
    try:
        failure = await on_its_own(work(member, seconds_for_others(context, member)))
    except Refusal as refusal:
        failure = refusal
    text = "".join(member.said).strip()
    if not text and failure is None:
        failure = ModelGarbled(f"The member {role.code} said nothing.")
    context.tell("member", role.code, "failed" if failure else "done")
    opinion = Opinion(
        role=role.code,
        name=f"{role.name.ru} ({role.code})",
        text=text,
        note=_note(role, failure, context.locale),
        failure=as_data(failure) if failure else None,
    )
    return {"opinions": [opinion], "steps": budget.steps_used, "tokens": budget.tokens_used}


async def draft(state: State, runtime: Runtime[RunContext]) -> Drafted:
    """Write one draft of all opinions, aloud; raise the first failure when there are no opinions."""
    context = runtime.context
    order = state.get("picked", [])
    opinions = sorted(state["opinions"], key=lambda opinion: order.index(opinion["role"]))
    heard = [opinion for opinion in opinions if opinion["text"]]
    if not heard:
        raise next(as_error(failure) for opinion in opinions if (failure := opinion["failure"]))

    told = render(
        context.role.common.synthesis,
        {
            "opinions": "\n\n".join(
                f"### {opinion['name']}\n{opinion['text']}{opinion['note']}" for opinion in heard
            ),
            "failures": ", ".join(opinion["name"] for opinion in opinions if not opinion["text"])
            or "ответили все",
        },
    )
    context.tell("step", "draft", "started")
    turn = await take_turn(context, with_task((system_message(context), *context.conversation), told))
    context.tell("step", "draft", "failed" if turn.cut else "done")
    if turn.cut:
        raise turn.cut
    return {"draft": "".join(context.said)}


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
    """Draw the graph. Whoever wants its steps kept gives a copy a place to keep them."""
    graph = StateGraph(State, context_schema=RunContext)
    graph.add_node("pick", pick)
    graph.add_node("hear", hear)
    graph.add_node("draft", draft)
    graph.add_edge(START, "pick")
    graph.add_conditional_edges("pick", invite, ["hear"])
    graph.add_edge("hear", "draft")
    graph.add_edge("draft", END)
    return graph.compile(name="multi_agent")


async def _ask_whom_to_hear(context: RunContext, members: list[Role]) -> str:
    context.tell("step", "pick", "started")
    told = render(context.role.common.supervisor, {"members": describe_roles(members)})
    turn = await take_turn(
        context.quiet(),
        (ModelMessage("system", told), *context.conversation),
        most_tokens=TOKENS_TO_PICK,
        json_schema=_schema([role.code for role in members]),
        temperature=0.0,
    )
    context.tell("step", "pick", "done")
    return turn.text


def _schema(codes: list[str]) -> dict[str, Any]:
    members = {"type": "array", "items": {"type": "string", "enum": codes}, "minItems": 1}
    return {
        "type": "object",
        "properties": {"members": members},
        "required": ["members"],
        "additionalProperties": False,
    }


def _note(role: Role, failure: Refusal | LimitReached | None, locale: str) -> str:
    if isinstance(failure, LimitReached):
        return f"\n\n{limit_message(role, failure, locale)}"
    return "\n\n(Мнение оборвалось и может быть неполным.)" if failure else ""
