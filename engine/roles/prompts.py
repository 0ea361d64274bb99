"""Words said to a model: Markdown files that name what they need, and nothing is filled in by guess."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.roles.errors import BrokenFile, Problem, PromptMismatch

MOST_BYTES = 32_768
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_NEEDS = re.compile(r"needs:\s*((?:[a-z_]+\s*(?:,\s*[a-z_]+\s*)*)?)")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template and the names of exactly those values it is rendered with."""

    name: str
    needs: frozenset[str]
    text: str


def render(template: Prompt, values: Mapping[str, str]) -> str:
    """Fill a template in. Values go in as they are: a placeholder inside a value stays text.

    Raises PromptMismatch when a value is missing or is not one the template needs.
    """
    if values.keys() != template.needs:
        missing = sorted(template.needs - values.keys())
        unknown = sorted(values.keys() - template.needs)
        raise PromptMismatch(
            f"{template.name}: missing {missing}, unknown {unknown}", missing=missing, unknown=unknown
        )
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template.text)


def read_prompt(path: Path) -> Prompt:
    """Read a prompt file, or raise BrokenFile that names the line."""
    text = read_text(path, MOST_BYTES)
    front, _, body = text.partition("\n")
    needs = _NEEDS.fullmatch(front.strip())
    if needs is None:
        raise BrokenFile(Problem(path.name, 1, "must begin with `needs:` and names with commas between"))
    needed = frozenset(name for name in re.split(r"[,\s]+", needs[1]) if name)
    if not body.strip():
        raise BrokenFile(Problem(path.name, 1, "there is nothing after the `needs:` line"))

    used: set[str] = set()
    for number, line in enumerate(body.splitlines(), start=2):
        names = _PLACEHOLDER.findall(line)
        for name in names:
            if name not in needed:
                told = f"uses {{{{ {name} }}}}, which `needs:` does not name"
                raise BrokenFile(Problem(path.name, number, told))
        if line.count("{{") != len(names):
            raise BrokenFile(Problem(path.name, number, "has `{{` that opens no `{{ name }}`"))
        used.update(names)
    if used != needed:
        raise BrokenFile(Problem(path.name, 1, f"needs {', '.join(sorted(needed - used))} but never uses it"))
    return Prompt(path.name, needed, body.strip())


def read_text(path: Path, most_bytes: int) -> str:
    """Read a small UTF-8 file, or raise BrokenFile."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise BrokenFile(Problem(path.name, 1, f"cannot be read: {error.strerror}")) from error
    if len(content) > most_bytes:
        raise BrokenFile(Problem(path.name, 1, f"is larger than {most_bytes} bytes"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BrokenFile(Problem(path.name, line, "is not UTF-8")) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise BrokenFile(Problem(path.name, line, "has a NUL character"))
    return text.replace("\r\n", "\n")
