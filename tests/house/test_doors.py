"""Rooms are entered by their doors: nobody outside imports a file behind one."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import ROOT, parsed, place, python_files

ROOMS = ROOT / "engine" / "domains"


def names_imported(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Yield every dotted name that a file imports: `from a.b import c` counts as a.b.c."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = path.relative_to(ROOT).with_suffix("").parts[: -node.level or None]
            module = ".".join([*(parent if node.level else ()), *filter(None, [node.module])])
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def goes_past_a_door(path: Path, name: str) -> bool:
    """Tell whether a file outside a room imports, by this name, a file inside it."""
    match name.split("."):
        case ["engine", "domains", room, inner, *_]:
            is_at_home = path.is_relative_to(ROOMS / room)
            behind = ROOMS / room / inner
            return not is_at_home and (behind.with_suffix(".py").exists() or behind.is_dir())
    return False


def test_rooms_are_entered_by_their_doors() -> None:
    """What a room lets others use stands in its `__init__.py`: import that, or add the name to it."""
    trespassers = [
        f"{place(path, node)} imports {name}"
        for path in python_files("engine", "ray_cluster", "scripts", "bench")
        for name, node in names_imported(path)
        if goes_past_a_door(path, name)
    ]

    assert trespassers == []


def test_the_door_test_knows_a_trespasser() -> None:
    outsider = ROOT / "engine" / "api" / "chats.py"

    assert goes_past_a_door(outsider, "engine.domains.runs.errors.RunNotFound")
    assert not goes_past_a_door(outsider, "engine.domains.runs.RunNotFound")
    assert not goes_past_a_door(ROOMS / "runs" / "service.py", "engine.domains.runs.errors.RunNotFound")


def test_every_door_says_what_it_lets_through() -> None:
    doors = [room / "__init__.py" for room in ROOMS.iterdir() if (room / "__init__.py").exists()]
    silent = [place(door) for door in doors if not ast.get_docstring(parsed(door))]
    closed = [
        place(door) for door in doors if not any("__all__" in ast.unparse(line) for line in parsed(door).body)
    ]

    assert doors
    assert silent == []
    assert closed == []
