"""The tool that asks a colleague: another role of the same organization."""

from typing import Annotated

from pydantic import Field

from engine.core.errors import Forbidden
from engine.tools.context import ToolContext

MOST_DEEP = 2  # how many times a question may be handed on before somebody has to answer it


class RoleAsksItself(Forbidden):
    code = "role_asks_itself"


class AskedTooDeep(Forbidden):
    code = "asked_too_deep"


async def ask_role(
    context: ToolContext,
    *,
    code: Annotated[str, Field(min_length=1, max_length=64, description="Code of the role, such as lawyer.")],
    question: Annotated[
        str, Field(min_length=1, max_length=2000, description="One complete question, with its facts.")
    ],
) -> str:
    """Ask another AI role a question and read its answer.

    Use it when part of the question belongs to another profession. It takes as long as an answer
    does, so ask once, and not for what you can answer yourself.
    """
    refuse_circles(context.lineage, code)
    return await context.ask_role(code, question)


def refuse_circles(lineage: tuple[str, ...], code: str) -> None:
    """Raise when a role would, through others, ask itself, or when a question went through too many."""
    if code in lineage:
        raise RoleAsksItself(
            f"Роль {code} уже участвует в этом вопросе ({' → '.join(lineage)}). Ответь без неё.", role=code
        )
    if len(lineage) > MOST_DEEP:
        raise AskedTooDeep(
            f"Вопрос уже передавали {MOST_DEEP} раза ({' → '.join(lineage)}). Ответь сам.", role=code
        )
