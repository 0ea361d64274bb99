"""Loads the named statements that lie beside a repository in `queries.sql`."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

_BLOCK = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)\b")
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One named statement; `text` has $1, $2 … for the parameters in `names`."""

    name: str
    text: str
    names: tuple[str, ...]
    promise: str  # its comment

    def arguments(self, values: dict[str, object]) -> list[object]:
        """Put named values in the order of the placeholders; a missing or unknown name is a TypeError."""
        if len(values) != len(self.names) or not all(name in values for name in self.names):
            raise TypeError(f"{self.name} takes {list(self.names)}, not {sorted(values)}")
        return [values[name] for name in self.names]


def parse(source: str) -> dict[str, Statement]:
    """Read a file of `-- name: x` blocks."""
    _, *parts = _BLOCK.split(source)
    return {name: _statement(name, body) for name, body in zip(parts[::2], parts[1::2], strict=True)}


@cache
def load(repository_file: str) -> SimpleNamespace:
    """Return the statements of the `queries.sql` beside a Python file, as attributes."""
    source = Path(repository_file).with_name("queries.sql").read_text(encoding="utf-8")
    return SimpleNamespace(**parse(source))


def quoted(text: str) -> str:
    """Return a text as PostgreSQL reads it within a statement; where there is a choice, pass a parameter."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _statement(name: str, body: str) -> Statement:
    promise = " ".join(line.strip().removeprefix("--").strip() for line in _COMMENT.findall(body))
    names: list[str] = []

    def place(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = _PARAMETER.sub(place, _COMMENT.sub("", body)).strip().rstrip(";")
    return Statement(name=name, text=text, names=tuple(names), promise=promise)
