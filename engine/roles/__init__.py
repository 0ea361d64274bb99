"""Who a model may be: one YAML file per role beside this one, its words in `prompts/`."""

from engine.roles.catalogue import Catalogue, load_roles
from engine.roles.errors import BrokenFile, Problem, PromptMismatch
from engine.roles.models import (
    AgentType,
    CommonPrompts,
    Limits,
    Localized,
    Role,
    Step,
    Validation,
)
from engine.roles.prompts import Prompt, render

__all__ = [
    "AgentType",
    "BrokenFile",
    "Catalogue",
    "CommonPrompts",
    "Limits",
    "Localized",
    "Problem",
    "Prompt",
    "PromptMismatch",
    "Role",
    "Step",
    "Validation",
    "load_roles",
    "render",
]
