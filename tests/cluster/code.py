"""A copy of the engine's code, which a test may change as a release does."""

import os
import shutil
from pathlib import Path

from bench.processes import ROOT

CHANGES = ("engine", "ray_cluster", "prompts")


def copy_of_the_code(folder: Path) -> Path:
    """Copy what runs to a new folder; migrations and the web client, which no test changes, are linked."""
    folder.mkdir()
    for name in CHANGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("migrations", "web"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def running_from(code: Path) -> dict[str, str]:
    """Return the variable by which a process runs the code of a folder."""
    return {"PYTHONPATH": os.pathsep.join([str(code), str(ROOT)])}
