"""Who a model may be."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from engine.roles.prompts import Prompt

AgentType = Literal["simple", "chain", "multi_agent"]

DEFAULT_POOL = "default"  # of every role that names no other
# What every role's own prompt may ask for; the graphs give exactly these.
ROLE_VALUES = frozenset({"organization", "asker", "chat", "date", "colleagues"})


@dataclass(frozen=True, slots=True)
class Localized:
    """A text in both languages."""

    ru: str
    en: str

    def of(self, locale: str) -> str:
        """Give the text a person with this locale reads."""
        return self.en if locale.lower().startswith("en") else self.ru


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of a role may use up: model calls, seconds, and tokens written."""

    steps: int
    seconds: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether a draft of this role waits for a signature, and whose.

    An approver is `asker`, `members`, `admins`, or a username. After `hours` without a signature the draft
    expires; None waits for ever.
    """

    required: bool
    approvers: tuple[str, ...]
    hours: int | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What each actor of a pool is given by Ray, and how many runs it has in hand at once."""

    cpus: float = 0.0
    gpus: float = 0.0
    memory_mb: int = 0
    concurrency: int | None = None  # None: as many as any worker has


@dataclass(frozen=True, slots=True)
class Pool:
    """Roles whose runs have workers of their own."""

    name: str
    roles: tuple[str, ...]
    resources: Resources


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain."""

    code: str
    name: Localized
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class CommonPrompts:
    """The words all roles share; each is a file of the same name in `prompts/`."""

    rules: Prompt
    instruction: Prompt
    now: Prompt
    last_step: Prompt
    changed: Prompt
    consult: Prompt
    chain_step: Prompt
    supervisor: Prompt
    synthesis: Prompt
    limit_ru: Prompt
    limit_en: Prompt


COMMON_NEEDS: dict[str, frozenset[str]] = {
    "rules": frozenset(),
    "instruction": frozenset({"instruction"}),
    "now": frozenset({"chat", "asker", "date"}),
    "last_step": frozenset(),
    "changed": frozenset(),
    "consult": frozenset({"asker_role", "message", "question"}),
    "chain_step": frozenset({"number", "total", "name", "task", "previous"}),
    "supervisor": frozenset({"members"}),
    "synthesis": frozenset({"opinions", "failures"}),
    "limit_ru": frozenset({"what", "number"}),
    "limit_en": frozenset({"what", "number"}),
}
assert COMMON_NEEDS.keys() == {field.name for field in fields(CommonPrompts)}


@dataclass(frozen=True, slots=True)
class Role:
    """A role as its files define it.

    `version` is a hash of the definition and of every prompt the role speaks with (its members'
    too), so two runs with one version were told the same words.
    """

    code: str
    name: Localized
    description: Localized
    agent_type: AgentType
    prompt: Prompt
    tools: tuple[str, ...]
    limits: Limits
    validation: Validation
    temperature: float
    steps: tuple[Step, ...]
    members: tuple[str, ...]
    pool: str
    resources: Resources
    common: CommonPrompts
    version: str

    @property
    def definition(self) -> dict[str, Any]:
        """What the role is and says, as it is kept with the runs that used it."""
        return {
            "code": self.code,
            "name": {"ru": self.name.ru, "en": self.name.en},
            "agent_type": self.agent_type,
            "tools": self.tools,
            "members": self.members,
            "temperature": self.temperature,
            "limits": {
                "steps": self.limits.steps,
                "seconds": self.limits.seconds,
                "tokens": self.limits.tokens,
            },
            "validation": {
                "required": self.validation.required,
                "approvers": self.validation.approvers,
                "hours": self.validation.hours,
            },
            "prompts": {
                prompt.name: prompt.text for prompt in (self.prompt, *(step.prompt for step in self.steps))
            },
        }
