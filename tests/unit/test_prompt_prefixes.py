"""A role's prompt begins with what never changes: a replica that has read it need not read it again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from engine.adapters.models.replicas import prefix_of
from engine.domains.runs import ModelMessage, ModelRequest
from engine.graphs.words import system_message
from tests.unit.scripted_model import NOW, SHIPPED, say, stage

ROLES = sorted(role.code for role in SHIPPED.all())
LEAST_KNOWN_SHARE = 0.9


def prompts(code: str) -> tuple[str, str]:
    """Return a role's prompt as two people hear of it, in two chats, on two days."""
    role = SHIPPED.get(code)
    assert role is not None
    here = stage(role, [say("да")]).context
    there = replace(here, asker="Иван", chat_title="Договоры", now=NOW + timedelta(days=1))
    return system_message(here).content, system_message(there).content


@pytest.mark.parametrize("code", ROLES)
def test_whoever_asks_wherever_a_roles_prompt_is_known_again(code: str) -> None:
    here, there = prompts(code)
    common = next(at for at, (one, other) in enumerate(zip(here, there, strict=False)) if one != other)
    requests = [ModelRequest((ModelMessage("system", text),)) for text in (here, there)]

    assert prefix_of(requests[0]) == prefix_of(requests[1])
    assert common / len(here) >= LEAST_KNOWN_SHARE


def test_two_roles_are_not_taken_for_one_another() -> None:
    marks = {prefix_of(ModelRequest((ModelMessage("system", prompts(code)[0]),))) for code in ROLES}

    assert len(marks) == len(ROLES)
