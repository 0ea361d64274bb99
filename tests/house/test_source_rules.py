"""The rules of the house that can be read off the source."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import engine
from engine.core.migrations import read_migrations
from engine.core.sql import parse
from tests.house.tree import ROOT, SOURCE, files, in_folders, parsed, place, python_files

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 80
# What may be longer, and why it is clearer so.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"}
READ_THE_ENVIRONMENT = (
    "engine/core/settings.py",
    "engine/bootstrap.py",
    "ray_cluster/closed.py",  # hands it on, without a token
    "ray_cluster/cluster.py",  # hands it on, with what closes Ray
    "ray_cluster/host.py",
    "ray_cluster/machine.py",
    "engine/cli",
    "engine/adapters/models/llama_server.py",  # hands it on, without our settings
    "engine/adapters/models/weights.py",  # hands it on to pip, as it is
)
# Registries and places of one machine; written so that this line does not match itself.
ADDRESSES = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|deb\.debian\.org|/wor[k]/(?:main|shared)|/op[t]/(?:pypi|wheels)|/roo[t]/"
)
GENERATED = {"package-lock.json", "openapi.json"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_no_file_is_too_long_to_read() -> None:
    lengths = {
        place(path): len(path.read_text("utf-8").splitlines())
        for path in files()
        if path.suffix in {".py", ".sql"} and in_folders(path, SOURCE)
    }
    too_long = {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FILE}

    assert too_long.keys() == LONG_FILES.keys()


def test_no_function_is_too_long_to_read() -> None:
    too_long = {
        f"{place(path)}:{function.name}"
        for path in python_files()
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno >= MOST_LINES_OF_A_FUNCTION
    }

    assert too_long == LONG_FUNCTIONS.keys()


def test_modules_open_with_a_sentence() -> None:
    silent = [
        place(path) for path in python_files() if parsed(path).body and not ast.get_docstring(parsed(path))
    ]

    assert silent == []


def test_names_say_what_is_inside() -> None:
    empty = [place(path) for path in python_files() if EMPTY_NAMES & set(path.stem.split("_"))]

    assert empty == []


def test_only_the_settings_read_the_environment() -> None:
    """A module takes the part of the settings that it needs as an argument."""
    readers = [
        place(path, node)
        for path in python_files("engine", "ray_cluster")
        if not place(path).startswith(READ_THE_ENVIRONMENT)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node) in {"os.environ", "os.getenv", "environ", "getenv"}
    ]

    assert readers == []


def test_nothing_is_given_to_a_runtime_environment() -> None:
    """Ray installs and runs what stands there: no word of a user's, and none of ours, may come that far."""
    givers = [
        place(path, node)
        for path in python_files("engine", "ray_cluster")
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.keyword) and node.arg == "runtime_env")
        or (isinstance(node, ast.Constant) and node.value == "runtime_env")
        or (isinstance(node, ast.Attribute | ast.Name) and "runtime_env" in ast.unparse(node).split("."))
    ]

    assert givers == []


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    named = [
        f"{place(path)}: {found[0]}"
        for path in files()
        if (text := _text(path)) is not None and (found := ADDRESSES.search(text))
    ]

    assert named == []


def test_the_locks_pin_by_hash_and_name_no_address() -> None:
    locks = sorted(ROOT.glob("requirements*.txt"))

    assert len(locks) == 3
    for lock in locks:
        text = lock.read_text("utf-8")
        assert not re.search(r"://|^-|--(?!hash=sha256:)", text, re.MULTILINE), lock.name
        entries = re.split(r"\n(?=\S)", text.strip())
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries), lock.name


def test_both_locks_hold_the_same_versions() -> None:
    runtime, development = (
        set(re.findall(r"^\S+==\S+", (ROOT / name).read_text("utf-8"), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    )

    assert runtime <= development


def test_every_statement_states_its_promise_and_is_used() -> None:
    silent, unused = [], []
    for path in (path for path in files() if path.name == "queries.sql"):
        code = "\n".join(sibling.read_text("utf-8") for sibling in path.parent.glob("*.py"))
        for statement in parse(path.read_text("utf-8")).values():
            if not statement.promise:
                silent.append(f"{place(path)}: {statement.name}")
            if not re.search(rf"\bSQL\.{statement.name}\b", code):
                unused.append(f"{place(path)}: {statement.name}")

    assert silent == []
    assert unused == []


def test_migrations_are_named_by_when_they_may_run_and_say_why() -> None:
    migrations = read_migrations(ROOT / "migrations")
    numbers = [migration.name[:4] for migration in migrations]

    assert numbers == [f"{number:04}" for number in range(1, len(migrations) + 1)]
    assert all(re.fullmatch(r"\d{4}_(pre|post)_[a-z0-9_]+\.sql", migration.name) for migration in migrations)
    assert all(migration.sql.startswith("-- ") for migration in migrations)


def test_the_version_is_said_once_more_in_the_code() -> None:
    """The repository is not installed as a package, so nothing else could tell it to the running engine."""
    assert (
        engine.__version__
        == tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    )


def test_scripts_can_be_started_and_parsed() -> None:
    scripts = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix]
    scripts += [ROOT / ".ci" / "run"]
    sourced = {"environment"}

    assert {"serve", "test", "check", "bench", "lock", "docs", "rugpt"} <= {script.name for script in scripts}
    for script in scripts:
        assert script.name in sourced or script.stat().st_mode & 0o111, f"{script.name} is not executable"
        subprocess.run(["sh", "-n", str(script)], check=True)


def _text(path: Path) -> str | None:
    if path.name in GENERATED:
        return None
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return None
