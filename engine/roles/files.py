"""What may stand in a role file: read as YAML, checked strictly, and every fault has its line."""

import re
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from engine.roles.errors import BrokenFile, Problem
from engine.roles.models import DEFAULT_POOL, AgentType
from engine.roles.prompts import read_text

MOST_BYTES = 16_384
MOST_NESTED = 8

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
PromptFile = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,60}\.md$")]
Approver = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,64}$")]

Lines = dict[tuple[str | int, ...], int]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NamesFile(_Part):
    ru: str = Field(min_length=1, max_length=40)
    en: str = Field(min_length=1, max_length=40)


class DescriptionFile(_Part):
    ru: str = Field(min_length=1, max_length=200)
    en: str = Field(min_length=1, max_length=200)


class LimitsFile(_Part):
    steps: int = Field(ge=1, le=50)
    seconds: int = Field(ge=1, le=1800)
    tokens: int = Field(ge=16, le=32_000)


class ValidationFile(_Part):
    required: bool = True
    approvers: list[Approver] = Field(default=["asker", "admins"], min_length=1, max_length=20)
    hours: int | None = Field(default=None, ge=1, le=8760)


class StepFile(_Part):
    code: Code
    name: NamesFile
    prompt: PromptFile


class ResourcesFile(_Part):
    pool: Code
    cpus: float = Field(default=0, ge=0, le=256)
    gpus: float = Field(default=0, ge=0, le=64)
    memory_mb: int = Field(default=0, ge=0, le=4_000_000)
    concurrency: int | None = Field(default=None, ge=1, le=4096)

    @model_validator(mode="after")
    def _not_the_default(self) -> Self:
        if self.pool == DEFAULT_POOL:
            raise ValueError(f"`{DEFAULT_POOL}` is the pool of roles without `resources`; leave them out")
        return self


class RoleFile(_Part):
    """A role file as written."""

    code: Code
    name: NamesFile
    description: DescriptionFile
    agent_type: AgentType
    prompt: PromptFile
    tools: list[Code] = Field(default=[], max_length=20)
    limits: LimitsFile
    validation: ValidationFile = ValidationFile()
    temperature: float = Field(default=0.2, ge=0, le=1)
    steps: list[StepFile] = Field(default=[], max_length=10)
    members: list[Code] = Field(default=[], max_length=10)
    resources: ResourcesFile | None = None

    @model_validator(mode="after")
    def _shape_of_its_type(self) -> Self:
        if bool(self.steps) != (self.agent_type == "chain"):
            raise ValueError("`steps` belong to a chain, and a chain has at least one")
        if bool(self.members) != (self.agent_type == "multi_agent"):
            raise ValueError("`members` belong to a multi_agent, and it has at least one")
        if self.agent_type == "multi_agent" and self.tools:
            raise ValueError("a multi_agent has no tools of its own; its members have theirs")
        for field, values in (("tools", self.tools), ("members", self.members)):
            if len(set(values)) != len(values):
                raise ValueError(f"`{field}` names something twice")
        if len({step.code for step in self.steps}) != len(self.steps):
            raise ValueError("two `steps` have the same code")
        return self


def read_role_file(path: Path) -> tuple[RoleFile, Lines]:
    """Read one role file and the line each of its values stands on, or raise BrokenFile."""
    text = read_text(path, MOST_BYTES)
    try:
        data, lines = _read_yaml(text, path.name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        told = f"is not YAML: {error.problem or error.context}"
        raise BrokenFile(Problem(path.name, line, told)) from error
    except yaml.YAMLError as error:
        raise BrokenFile(Problem(path.name, _line_of(text, error), f"is not YAML: {error}")) from error
    except ValueError as error:  # such as a date that does not exist
        raise BrokenFile(Problem(path.name, 1, f"has a value that cannot be read: {error}")) from error

    try:
        role = RoleFile.model_validate(data)
    except ValidationError as error:
        raise BrokenFile(*(_problem(path.name, fault, lines) for fault in error.errors())) from error
    if role.code != path.stem:
        raise BrokenFile(Problem(path.name, lines[("code",)], f"`code` must be {path.stem}, like the file"))
    return role, lines


def _read_yaml(text: str, file: str) -> tuple[Any, Lines]:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise BrokenFile(Problem(file, line, "uses an alias (`*name`); write the value out"))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_NESTED:
            raise BrokenFile(Problem(file, line, f"is nested deeper than {MOST_NESTED}"))

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise BrokenFile(Problem(file, 1, "is empty"))
        lines: Lines = {}
        _note_lines(node, (), lines, file)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, path: tuple[str | int, ...], lines: Lines, file: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                # YAML would quietly keep the second one.
                raise BrokenFile(Problem(file, line, f"`{key.value}` stands here a second time"))
            lines[here] = line
            _note_lines(value, here, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _note_lines(item, (*path, number), lines, file)


def _problem(file: str, fault: Any, lines: Lines) -> Problem:
    where: tuple[str | int, ...] = tuple(fault["loc"])
    known = where
    while known not in lines:
        known = known[:-1]
    name = ".".join(map(str, where))
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "is not a key that a role file has"
    elif fault["type"] == "missing":
        message = "is missing"
    return Problem(file, lines[known], f"`{name}` {message}" if name else message)


def _line_of(text: str, error: yaml.YAMLError) -> int:
    position = re.search(r"position (\d+)", str(error))
    return text.count("\n", 0, int(position[1])) + 1 if position else 1
