"""What the doctor finds, and how it is shown."""

from dataclasses import dataclass
from enum import Enum
from typing import TextIO


class State(Enum):
    """How a thing stands: as it should, worth knowing, or in the way of the engine."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


_COLOURS = {State.OK: "green", State.NOTE: "yellow", State.MISSING: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `text` says what to do where something is missing."""

    about: str
    state: State
    text: str


def ok(about: str, text: str) -> Finding:
    return Finding(about, State.OK, text)


def note(about: str, text: str) -> Finding:
    return Finding(about, State.NOTE, text)


def missing(about: str, text: str) -> Finding:
    return Finding(about, State.MISSING, text)


def is_anything_missing(findings: list[Finding]) -> bool:
    """Tell whether the engine would not work like this."""
    return any(finding.state is State.MISSING for finding in findings)


def show(findings: list[Finding], output: TextIO) -> None:
    """Write a table for a person at a terminal, and a line for each finding elsewhere."""
    if not output.isatty():
        for finding in findings:
            print(f"{finding.state.value:<7} {finding.about}: {finding.text}", file=output)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "what was found", box=None, pad_edge=False, show_header=False)
    for finding in findings:
        state = Text(finding.state.value, style=_COLOURS[finding.state])
        table.add_row(state, Text(finding.about, style="bold"), Text(finding.text))
    Console(file=output).print(table)
