"""Puts together what a model is told: who it is, the rules, the house's wishes, and the conversation."""

from collections.abc import Iterable
from dataclasses import replace

from engine.domains.runs import ModelMessage
from engine.graphs.context import RunContext
from engine.roles import Prompt, Role, render
from engine.tools import describe_time

LONGEST_NAME = 120


def system_message(context: RunContext) -> ModelMessage:
    """Write the one system message a role speaks under."""
    role = context.role
    parts = [fill(role.prompt, context), render(role.common.rules, {})]
    if context.instruction.strip():
        parts.append(render(role.common.instruction, {"instruction": context.instruction.strip()}))
    parts.append(fill(role.common.now, context))  # Last, so that all before it is known from the last call.
    return ModelMessage("system", "\n\n".join(parts))


def fill(prompt: Prompt, context: RunContext) -> str:
    """Fill in one of a role's own prompts with as much of the run as it needs."""
    values = {
        "organization": _one_line(context.organization),
        "asker": _one_line(context.asker),
        "chat": _one_line(context.chat_title),
        "date": describe_time(context.now, context.timezone),
        "colleagues": describe_roles(role for role in context.colleagues if role.code not in context.lineage),
    }
    return render(prompt, {name: values[name] for name in prompt.needs})


def describe_roles(roles: Iterable[Role]) -> str:
    """List roles as a model is told of them."""
    lines = [f"- `{role.code}` — {role.name.ru}: {role.description.ru}" for role in roles]
    return "\n".join(lines) or "сейчас никого"


def with_task(conversation: tuple[ModelMessage, ...], task: str) -> tuple[ModelMessage, ...]:
    """Set a task under the question.

    In one message: many small models' templates refuse two of the same speaker in a row.
    """
    *before, question = conversation
    return (*before, replace(question, content=f"{question.content}\n\n{task}"))


def _one_line(text: str) -> str:
    # People choose these names; a name must not be able to open a paragraph of its own in a prompt.
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"
