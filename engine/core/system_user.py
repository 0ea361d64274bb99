"""The system user that root lends its database to: PostgreSQL refuses to run as root."""

import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import Any

NAME = "embedded_postgres"


def lend(folder: Path, *, programs: Path) -> None:
    """Make the user where there is none, give it a folder, and let it reach that and the programs.

    Folders on the way may be passed through by everybody from then on, but not listed.
    """
    try:
        user = pwd.getpwnam(NAME)
    except KeyError:
        nobodys_shell = ["--no-create-home", "--shell", "/usr/sbin/nologin"]
        subprocess.run(["useradd", "--system", *nobodys_shell, NAME], check=True, capture_output=True)
        user = pwd.getpwnam(NAME)
    os.chown(folder, user.pw_uid, -1)
    for parent in (*folder.parents, *programs.parents):
        _allow_others(parent, stat.S_IXOTH)
    for path in (programs, *programs.rglob("*")):
        # Installed under a strict umask, they would be root's alone.
        is_runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        _allow_others(path, stat.S_IROTH | (stat.S_IXOTH if is_runnable else 0))


def run_as() -> dict[str, Any]:
    """Return the arguments of subprocess.run that leave nothing of root to a program, its groups neither."""
    user = pwd.getpwnam(NAME)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def give(folder: Path) -> None:
    """Give the user a folder that it can reach already."""
    os.chown(folder, pwd.getpwnam(NAME).pw_uid, -1)


def _allow_others(path: Path, rights: int) -> None:
    mode = path.stat().st_mode
    if mode & rights != rights:
        path.chmod(stat.S_IMODE(mode) | rights)
