"""Who a model may be: one YAML file per role beside this one, its words in `prompts/`."""

from engine.roles.catalogue import Catalogue, load_roles
from engine.roles.errors import BrokenFile, Problem, PromptMismatch
from engine.roles.models import (
    DEFAULT_POOL,
    AgentType,
    CommonPrompts,
    Limits,
    Localized,
    Pool,
    Resources,
    Role,
    Step,
    Validation,
)
from engine.roles.prompts import Prompt, render
from engine.roles.travel import RolesChanged, let_travel

__all__ = [
    "DEFAULT_POOL",
    "AgentType",
    "BrokenFile",
    "Catalogue",
    "CommonPrompts",
    "Limits",
    "Localized",
    "Pool",
    "Problem",
    "Prompt",
    "PromptMismatch",
    "Resources",
    "Role",
    "RolesChanged",
    "Step",
    "Validation",
    "let_travel",
    "load_roles",
    "render",
]
