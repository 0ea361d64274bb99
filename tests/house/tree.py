"""The source tree as the rules of the house see it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ("engine", "ray_cluster", "scripts", "bench", "tests")
_NOT_OURS = frozenset(
    {".git", ".venv", ".tools", "data", "dist", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache",
     ".pytest_cache", ".hypothesis", ".import_linter_cache", ".env", ".venv.lock"}
)  # fmt: skip


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of some top-level folders, or of all that hold source."""
    return [path for path in files() if path.suffix == ".py" and in_folders(path, folders or SOURCE)]


def files() -> list[Path]:
    """Return every file that belongs to the repository, in order."""
    return sorted(_walk(ROOT))


def in_folders(path: Path, folders: tuple[str, ...]) -> bool:
    """Tell whether a file lies under one of some top-level folders."""
    return path.relative_to(ROOT).parts[0] in folders


def place(path: Path, node: ast.AST | None = None) -> str:
    """Return how to name a file, or a line of it, to a person."""
    line = f":{node.lineno}" if isinstance(node, ast.expr | ast.stmt) else ""
    return f"{path.relative_to(ROOT)}{line}"


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in _NOT_OURS or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path
