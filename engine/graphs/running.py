"""Lets a role's graph work: aloud for the person who asked, quietly for another role."""

import asyncio
from functools import cache, partial
from importlib import import_module
from typing import Any

from engine.core.errors import Conflict, NotFound
from engine.domains.runs import ModelGarbled, ModelMessage
from engine.graphs.context import Answer, RunContext
from engine.graphs.councils import go_on_or_begin
from engine.graphs.limits import LimitReached, limit_message
from engine.graphs.words import system_message
from engine.roles import AgentType, render
from engine.tools import refuse_circles

GRAPHS: tuple[AgentType, ...] = ("simple", "chain", "multi_agent")

# Whoever asks others keeps enough of the time to make something of what they said.
TIME_FOR_OTHERS = 0.7


class UnknownColleague(NotFound):
    code = "unknown_colleague"


class NothingLeftToAskWith(Conflict):
    code = "nothing_left_to_ask_with"


async def answer(context: RunContext) -> Answer:
    """Let the role answer, saying its words as they come; `text` is exactly what was said.

    A run that hits a limit of its role ends with a message that names it, and keeps what was said
    before. What its tools have changed is always told, in the tools' own words: nobody has to believe a
    model. What the model raises comes out as it is; an empty answer is ModelGarbled.
    """
    loop = asyncio.get_running_loop()
    await load_graph(context.role.agent_type)
    context.ends_at = loop.time() + context.role.limits.seconds
    reached = await work(context, context.role.limits.seconds)
    said = "".join(context.said)
    if untold := [change for change in context.changes if change not in said]:
        context.utter(("\n\n" if said else "") + "\n".join(untold))
    if reached:
        told = limit_message(context.role, reached, context.locale)
        context.utter(f"\n\n{told}" if context.said else told)
    text = "".join(context.said)
    if not text.strip():
        raise ModelGarbled("The model said nothing.")
    return Answer(text, reached.limit if reached else None)


async def consult(context: RunContext, code: str, question: str) -> str:
    """Let another role answer a question within this run, and give its words.

    Nothing is said aloud. It draws on the run's limits and leaves enough for the asker to finish.
    Raises a refusal for a circle, a chain that is too deep, and a role that is not there.
    """
    refuse_circles(context.lineage, code)
    role = context.find_role(code)
    if role is None:
        known = ", ".join(other.code for other in context.colleagues) or "никого"
        raise UnknownColleague(f"Роли {code} здесь нет. Можно спросить: {known}.", role=code)
    refuse_circles(context.lineage, role.code)
    steps, tokens = context.budget.steps_left - 1, context.budget.tokens_left // 2
    if steps < 1 or tokens < 1:
        raise NothingLeftToAskWith("Спрашивать уже некогда: предел этого ответа близок. Ответь сам.")

    asked = render(
        role.common.consult,
        {
            "asker_role": context.role.name.ru,
            "message": context.conversation[-1].content,
            "question": question,
        },
    )
    budget = context.budget.share(role.limits, steps=steps, tokens=tokens)
    other = context.as_role(role, (ModelMessage("user", asked),), budget)
    context.tell("member", role.code, "started")
    try:
        reached = await work(other, seconds_for_others(context, other))
    except BaseException:
        context.tell("member", role.code, "failed")
        raise
    text = "".join(other.said)
    context.tell("member", role.code, "done" if text.strip() and not reached else "failed")
    if reached:
        return f"{text}\n\n{limit_message(role, reached, context.locale)}".strip()
    if not text.strip():
        raise ModelGarbled(f"The role {role.code} said nothing.")
    return text


async def work(context: RunContext, seconds: float) -> LimitReached | None:
    """Let the role's graph work until it is done or a limit ends it; give the limit."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            context.tools = context.tools.bind(
                context.role.tools, lineage=context.lineage, ask_role=partial(consult, context)
            )
            graph = await load_graph(context.role.agent_type)
            if context.role.agent_type == "multi_agent":
                await go_on_or_begin(graph, context, _config(context))
            else:
                await _invoke(graph, context, (system_message(context), *context.conversation))
    except LimitReached as reached:
        return reached
    except TimeoutError:
        if not scope.expired():
            raise
        return LimitReached("seconds", max(1, round(seconds)))
    return None


async def converse(context: RunContext, messages: tuple[ModelMessage, ...]) -> None:
    """Answer messages the simple way, tools and all, as one part of a larger graph."""
    await _invoke(await load_graph("simple"), context, messages)


def seconds_for_others(context: RunContext, other: RunContext) -> float:
    """Say how long another role may take within this run."""
    left = context.ends_at - asyncio.get_running_loop().time()
    return max(0.0, min(float(other.role.limits.seconds), left * TIME_FOR_OTHERS))


async def load_graph(name: AgentType) -> Any:
    """Give a compiled graph. The first one takes LangGraph's second to import, in a thread."""
    if name not in _built:
        await asyncio.to_thread(build_graph, name)
    return build_graph(name)


_built: set[str] = set()


@cache
def build_graph(name: AgentType) -> Any:
    """Build a graph, once; importing this package alone does not import LangGraph."""
    graph = import_module(f"engine.graphs.{name}").build()
    _built.add(name)
    return graph


def build_all() -> None:
    """Build every graph now, so that no question waits for it; takes a second or two, in any thread."""
    for name in GRAPHS:
        build_graph(name)


async def _invoke(graph: Any, context: RunContext, messages: tuple[ModelMessage, ...]) -> None:
    # What it says goes by the context; nobody wants to know how its state looked in the end.
    await graph.ainvoke({"messages": messages}, _config(context), context=context, output_keys=[])


def _config(context: RunContext) -> dict[str, Any]:
    # Two nodes a step and a few to start and end with: the run's own limits always come first.
    return {"recursion_limit": 2 * context.role.limits.steps + len(context.role.steps) + 10}
