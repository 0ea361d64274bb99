"""Write what is made from the code: pages of settings and refusals, the API's description, the schema."""

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from engine.api.app import create_app
from engine.api.caller import Engine
from engine.core.database import Database
from engine.core.events import Bus
from engine.core.feed import Feed
from engine.core.settings import Settings
from scripts.schema_dump import schema_page

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Written by scripts/docs: change the code, not this page. -->"


def pages() -> dict[str, str]:
    """Return the text that each page ought to have, by its path in the repository."""
    return {
        "docs/guides/settings.md": settings_page(),
        "docs/guides/errors.md": errors_page(),
        "openapi.json": openapi_page(),
    }


def openapi_page() -> str:
    """Describe every route, as OpenAPI."""
    # The routes are known without a running engine; nothing is asked of this one, least of all its database.
    settings = Settings.model_construct()  # its defaults, whatever is set here
    stand_in = SimpleNamespace(
        database=Database(pool=None, bus=Bus(), feed=Feed()), settings=settings, roles=None
    )
    app = create_app(cast(Engine, stand_in))
    return json.dumps(app.openapi(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def settings_page() -> str:
    """Describe every setting: its variable, its default, its values and what it is for."""
    prefix = Settings.model_config.get("env_prefix", "")
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field.default)} "
        f"| {_values(field.annotation, field.metadata)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join([
        "# Settings",
        "",
        NOTE,
        "",
        "Environment variables, lines of a file `.env` in the folder the engine is started from, or files in",
        "the folder `RUGPT_SECRETS_DIR`, each named like a variable, in small letters, with its value: so",
        "Docker, Kubernetes and systemd hand over secrets. The first of these that says something wins. An",
        "empty value counts as unset.",
        "",
        "| variable | default | values | what it is for |",
        "|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def errors_page() -> str:
    """Describe every refusal: its code, its kind, and what was refused."""
    rows = [
        f"| `{refusal.code}` | {refusal.status} | {refusal.kind} | {refusal.sentence} |"
        for refusal in refusals()
    ]
    return "\n".join([
        "# Refusals",
        "",
        NOTE,
        "",
        "Every no of the engine has a `code` that never changes. It is the `code` of a problem+json answer,",
        "and of a failed run. The kind decides the status.",
        "",
        "| code | status | kind | what it says |",
        "|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class DocumentedRefusal:
    """One class of refusal, as its page describes it."""

    name: str
    code: str
    kind: str
    status: int | None
    sentence: str


def refusals() -> list[DocumentedRefusal]:
    """Return every class of refusal that has a code of its own, by code; read from the source."""
    trees = [ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "engine").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    sentences = dict(_sentences(nodes))
    kinds = {name for name, node in classes.items() if "Refusal" in _parents(node)}
    statuses = api_statuses()
    found = [
        DocumentedRefusal(
            name,
            code,
            kind,
            statuses.get(_nearest(name, classes, set(statuses)) or ""),
            sentences.get(name, ""),
        )
        for name, node in classes.items()
        if (code := _code(node)) and (kind := _nearest(name, classes, kinds))
    ]
    return sorted(found, key=lambda refusal: refusal.code)


def _code(node: ast.ClassDef) -> str | None:
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        value = getattr(line, "value", None)
        if isinstance(target, ast.Name) and target.id == "code" and isinstance(value, ast.Constant):
            return str(value.value)
    return None


def api_statuses() -> dict[str, int]:
    """Return the status that the API answers with, by the name of the class of refusal."""
    tree = ast.parse((ROOT / "engine" / "api" / "errors.py").read_text("utf-8"))
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_STATUSES"
    )
    assert isinstance(table, ast.Dict)
    names = [ast.unparse(key).rpartition(".")[2] for key in table.keys if key is not None]
    return dict(zip(names, (ast.literal_eval(value) for value in table.values), strict=True))


def _nearest(name: str, classes: dict[str, ast.ClassDef], wanted: set[str]) -> str | None:
    """Return the class itself or its nearest ancestor that is one of those wanted."""
    if name in wanted or name not in classes:
        return name if name in wanted else None
    return next(
        (found for parent in _parents(classes[name]) if (found := _nearest(parent, classes, wanted))), None
    )


def _parents(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).rpartition(".")[2] for base in node.bases]


def _sentences(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Find what each refusal says: its docstring, else the sentence that it is raised or made with."""
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id[0].isupper():
            yield from _said(node.func.id, node)
    made_in = [node for node in nodes if isinstance(node, ast.ClassDef)]
    for node in made_in:
        for call in (inner for inner in ast.walk(node) if isinstance(inner, ast.Call)):
            if ast.unparse(call.func) == "super().__init__":
                yield from _said(node.name, call)
    for node in made_in:  # Last, so that a docstring wins.
        if said := ast.get_docstring(node):
            yield node.name, said.partition("\n\n")[0].replace("\n", " ")


def _said(name: str, call: ast.Call) -> Iterator[tuple[str, str]]:
    first = call.args[0] if call.args else None
    parts = first.values if isinstance(first, ast.JoinedStr) else [first]
    if any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts):
        texts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts]
        yield name, "".join(texts).replace("|", "\\|").replace("\n", " ")


def _default(value: Any) -> str:
    return "" if value is None or value is PydanticUndefined else f"`{value}`"


def _values(annotation: Any, limits: list[Any]) -> str:
    if get_origin(annotation) is UnionType:
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    known = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", Path: "path"}
    known[SecretStr] = "secret text"
    words = known.get(annotation, str(annotation))
    bounds = {
        "ge": "from",
        "gt": "above",
        "le": "to",
        "lt": "below",
        "min_length": "at least",
        "max_length": "at most",
    }
    for limit in limits:
        for name, word in bounds.items():
            if (bound := getattr(limit, name, None)) is not None:
                words += f" {word} {bound}" + (" characters" if "length" in name else "")
    return words


if __name__ == "__main__":
    for page_name, text in {**pages(), "migrations/schema.sql": schema_page()}.items():
        (ROOT / page_name).write_text(text, encoding="utf-8")
        print(f"written: {page_name}", file=sys.stderr)
