"""What a scenario found, as a table on the terminal and as a section of RESULTS.md."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.processes import ROOT

RESULTS = ROOT / "bench" / "RESULTS.md"
TITLE = (
    "# What was measured\n\nEach section is written by `scripts/bench`; text outside the sections is kept.\n"
)


@dataclass(frozen=True, slots=True)
class Section:
    """One table of figures; `name` is that of the scenario."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def show(self, console: Console) -> None:
        """Print it on a terminal."""
        table = Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print()
        console.print(table)
        for note in self.notes:
            console.print(note, style="dim", highlight=False)

    def markdown(self, circumstances: str) -> str:
        """Render it for RESULTS.md, with the circumstances under which it was measured."""
        lines = [f"## {self.title}", "", circumstances, ""]
        lines += [
            _row(self.columns),
            _row(["---"] + ["---:"] * (len(self.columns) - 1)),
            *map(_row, self.rows),
        ]
        lines += ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def put_section(document: str, name: str, markdown: str) -> str:
    """Return the document with one scenario's section replaced, or added at the end; the rest stays."""
    begin, end = f"<!-- bench: {name} -->", f"<!-- end: {name} -->"
    section = f"{begin}\n{markdown}\n{end}"
    before, found, rest = document.partition(begin)
    if not found:
        return f"{document.rstrip()}\n\n{section}\n".lstrip()
    _, closed, after = rest.partition(end)
    if not closed:
        raise ValueError(f"the section {name} is opened by a marker and never closed")
    return before + section + after


def write(
    sections: Iterable[Section],
    arguments: Iterable[str],
    others_cores: float,
    path: Path = RESULTS,
    *,
    program: str = "scripts/bench",
) -> None:
    """Put the sections into RESULTS.md, each with date, commit, command line and machine."""
    command = " ".join([program, *arguments])
    circumstances = f"{datetime.now(UTC):%d %B %Y}, {commit()}, `{command}`; {machine()}."
    if others_cores > 0.1:
        circumstances += f" Other programs used up to {others_cores:.1f} cores meanwhile."
    document = path.read_text() if path.exists() else TITLE
    for section in sections:
        document = put_section(document, section.name, section.markdown(circumstances))
    path.write_text(document)


def machine() -> str:
    """Say how big this machine is."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    processor = found[1].strip() if found else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    size = f"{cores} cores of {processor}, {memory:.0f} GiB, Python {platform.python_version()}"
    return f"{size}, with everything on these cores"


def commit() -> str:
    """Say which commit is measured, and whether files differ from it."""
    head = _git("rev-parse", "--short", "HEAD")
    if not head:
        return "no commit"
    return f"commit {head}" + (" with changes" if _git("status", "--porcelain") else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
