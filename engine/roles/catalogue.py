"""All roles, read once and kept; a file that breaks later leaves its last good version in place."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from engine.domains.runs import Share
from engine.roles.errors import BrokenFile, Problem
from engine.roles.files import Lines, RoleFile, read_role_file
from engine.roles.models import (
    COMMON_NEEDS,
    DEFAULT_POOL,
    ROLE_VALUES,
    CommonPrompts,
    Limits,
    Localized,
    Pool,
    Resources,
    Role,
    Step,
    Validation,
)
from engine.roles.prompts import Prompt, read_prompt
from engine.tools import every_tool

MOST_ROLES = 100


class Catalogue:
    """The roles there are. Reading it costs nothing; only `reload` touches the disk."""

    def __init__(self, folder: Path, prompts: Path, tools: Collection[str]) -> None:
        self._folder = folder
        self._prompts = prompts
        self._tools = frozenset(tools)
        self._common: CommonPrompts | None = None
        self._roles: dict[str, Role] = {}
        self._by_name: dict[str, Role] = {}
        self._codes: dict[str, str] = {}
        self._pools: dict[str, Pool] = {}
        self.problems: tuple[Problem, ...] = ()

    def get(self, code: str) -> Role | None:
        return self._roles.get(code)

    def all(self) -> tuple[Role, ...]:
        """Give every role, ordered by code."""
        return tuple(self._roles.values())

    def names(self) -> Mapping[str, str]:
        """Give every casefolded code and name that calls a role after @@, with the role's code."""
        return self._codes

    def find(self, name: str) -> Role | None:
        """Find a role by its code or its name in either language, however it is spelled."""
        return self._by_name.get(_folded(name))

    def pools(self) -> Mapping[str, Pool]:
        """Give the pools there are, by name; the default one has the roles that name no other."""
        return self._pools

    def share_of(self, pool: str | None) -> Share:
        """Give the roles whose runs a worker of a pool takes; without a pool it takes all.

        The default pool also takes what is asked of roles that are there no more: somebody has to end it.
        """
        if pool is None:
            return Share()
        if pool == DEFAULT_POOL:
            apart = [each.roles for name, each in self._pools.items() if name != DEFAULT_POOL]
            return Share(but=tuple(code for roles in apart for code in roles))
        mine = self._pools.get(pool)
        return Share(only=mine.roles if mine else ())

    def reload(self) -> list[Problem]:
        """Read all files again and say what is wrong with them.

        A role whose files are broken keeps its last good version, a role whose file is gone is gone.
        Raises BrokenFile only when the words all roles share cannot be read and never could be.
        """
        problems: list[Problem] = []
        common = self._read_common(problems)
        read: dict[str, Role] = {}
        councils: list[tuple[Path, RoleFile, Lines]] = []
        paths = sorted(self._folder.glob("*.yaml"))
        told = f"is not read: there are more than {MOST_ROLES} roles"
        problems.extend(Problem(path.name, 1, told) for path in paths[MOST_ROLES:])
        for path in paths[:MOST_ROLES]:
            try:
                file, lines = read_role_file(path)
                if file.members:  # Their version stands on their members' versions: they come last.
                    councils.append((path, file, lines))
                else:
                    read[path.stem] = self._make(path, file, lines, common, read)
            except BrokenFile as broken:
                self._keep_last_good(path, broken, read, problems)
        for path, file, lines in councils:
            try:
                read[path.stem] = self._make(path, file, lines, common, read)
            except BrokenFile as broken:
                self._keep_last_good(path, broken, read, problems)

        self._common = common
        self._index(read, problems)
        self.problems = tuple(problems)
        return problems

    def _keep_last_good(
        self, path: Path, broken: BrokenFile, read: dict[str, Role], problems: list[Problem]
    ) -> None:
        problems.extend(broken.problems)
        if path.stem in self._roles:
            read[path.stem] = self._roles[path.stem]

    def _read_common(self, problems: list[Problem]) -> CommonPrompts:
        found: dict[str, Prompt] = {}
        broken: list[Problem] = []
        for name, needs in COMMON_NEEDS.items():
            file = f"{name}.md"
            try:
                prompt = read_prompt(self._prompts / file)
                if prompt.needs != needs:
                    given = ", ".join(sorted(needs)) or "nothing"
                    raise BrokenFile(Problem(file, 1, f"must need exactly what it is given: {given}"))
                found[name] = prompt
            except BrokenFile as error:
                broken.extend(error.problems)
        if not broken:
            return CommonPrompts(**found)
        if self._common is None:
            raise BrokenFile(*broken)
        problems.extend(broken)
        return self._common

    def _make(
        self, path: Path, file: RoleFile, lines: Lines, common: CommonPrompts, others: dict[str, Role]
    ) -> Role:
        problems: list[Problem] = []

        def prompt(name: str, where: tuple[str | int, ...], known: frozenset[str]) -> Prompt | None:
            try:
                if not (self._prompts / name).is_file():
                    raise BrokenFile(Problem(path.name, lines[where], f"there is no prompt file {name}"))
                found = read_prompt(self._prompts / name)
                if strange := found.needs - known:
                    told = f"needs {', '.join(sorted(strange))}; it can have {', '.join(sorted(known))}"
                    raise BrokenFile(Problem(name, 1, told))
                return found
            except BrokenFile as broken:
                problems.extend(broken.problems)
                return None

        own = prompt(file.prompt, ("prompt",), ROLE_VALUES)
        steps = []
        for number, step in enumerate(file.steps):
            if text := prompt(step.prompt, ("steps", number, "prompt"), ROLE_VALUES):
                steps.append(Step(step.code, Localized(step.name.ru, step.name.en), text))
        for number, tool in enumerate(file.tools):
            if tool not in self._tools:
                told = f"unknown tool {tool}; there are {', '.join(sorted(self._tools))}"
                problems.append(Problem(path.name, lines[("tools", number)], told))
        problems.extend(Problem(path.name, lines[where], fault) for where, fault in _faults(file, others))
        if problems or own is None:
            raise BrokenFile(*problems)

        versions = {member: others[member].version for member in file.members}
        return Role(
            code=file.code,
            name=Localized(file.name.ru, file.name.en),
            description=Localized(file.description.ru, file.description.en),
            agent_type=file.agent_type,
            prompt=own,
            tools=tuple(file.tools),
            limits=Limits(file.limits.steps, file.limits.seconds, file.limits.tokens),
            validation=Validation(
                file.validation.required, tuple(file.validation.approvers), file.validation.hours
            ),
            temperature=file.temperature,
            steps=tuple(steps),
            members=tuple(file.members),
            pool=file.resources.pool if file.resources else DEFAULT_POOL,
            resources=_resources(file),
            common=common,
            version=_version(file, [own, *(step.prompt for step in steps)], common, versions),
        )

    def _index(self, read: dict[str, Role], problems: list[Problem]) -> None:
        by_name: dict[str, Role] = {_folded(code): role for code, role in read.items()}
        roles: dict[str, Role] = {}
        for code, role in sorted(read.items()):
            for name in (role.name.ru, role.name.en):
                other = by_name.setdefault(_folded(name), role)
                if other is not role:
                    told = f"`name` {name} already calls {other.code}; it will not call {code}"
                    problems.append(Problem(f"{code}.yaml", 1, told))
            roles[code] = role
        # Both at once, and only now: a reader on this loop never sees half of a reload.
        self._roles, self._by_name, self._pools = roles, by_name, _pools(roles)
        self._codes = {
            called.casefold(): role.code
            for role in reversed(list(roles.values()))
            for called in (role.name.en, role.name.ru, role.code)
        }


def load_roles(folder: Path, prompts: Path, *, tools: Collection[str] | None = None) -> Catalogue:
    """Read every role file; what is wrong is in `problems`, and a broken role is not there.

    `tools` are the names a role may list, all of the engine's by default. Raises BrokenFile when
    the prompts that all roles share are broken.
    """
    catalogue = Catalogue(folder, prompts, every_tool().names if tools is None else tools)
    catalogue.reload()
    return catalogue


def _faults(file: RoleFile, others: dict[str, Role]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with a role beside the others, and where that is said."""
    for number, member in enumerate(file.members):
        if fault := _fault_of_member(member, others):
            yield ("members", number), fault
    if fault := _fault_of_resources(file, others):
        yield ("resources",), fault


def _fault_of_member(code: str, others: dict[str, Role]) -> str | None:
    role = others.get(code)
    if role is None:
        return f"unknown member {code}, or its own file is broken"
    return f"member {code} is itself a multi_agent" if role.members else None


def _resources(file: RoleFile) -> Resources:
    asked = file.resources
    return Resources(asked.cpus, asked.gpus, asked.memory_mb, asked.concurrency) if asked else Resources()


def _fault_of_resources(file: RoleFile, others: dict[str, Role]) -> str | None:
    for other in others.values():
        if file.resources and other.pool == file.resources.pool and other.resources != _resources(file):
            return f"pool {other.pool} has other resources in {other.code}.yaml; they must be the same"
    return None


def _pools(roles: Mapping[str, Role]) -> dict[str, Pool]:
    pools = {DEFAULT_POOL: Pool(DEFAULT_POOL, (), Resources())}
    for role in roles.values():
        before = pools.get(role.pool, Pool(role.pool, (), role.resources))
        pools[role.pool] = Pool(role.pool, (*before.roles, role.code), before.resources)
    return pools


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip()).casefold().replace("ё", "е")


def _version(file: RoleFile, own: list[Prompt], common: CommonPrompts, members: dict[str, str]) -> str:
    shared: list[Prompt] = [getattr(common, field.name) for field in fields(common)]
    told = [[prompt.name, prompt.text] for prompt in (*own, *shared)]
    canonical = json.dumps(
        {"role": file.model_dump(exclude={"resources"}), "prompts": told, "members": members},
        ensure_ascii=False,
        sort_keys=True,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
