"""The machine: disk, secret, time zones, and how many files may be open."""

import os
import resource
import shutil
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.cli.doctor.findings import Finding, missing, note, ok
from engine.cli.doctor.model import nearest_folder
from engine.core.settings import Settings

LEAST_FREE_BYTES = 200 * 1024**2
COMFORTABLE_FREE_BYTES = 2 * 1024**3
LEAST_FILES = 256
COMFORTABLE_FILES = 4096


def look_at_machine(settings: Settings) -> list[Finding]:
    """Find out whether the engine has what it needs of the machine."""
    return [
        _disk(settings.data_dir),
        _secret(settings),
        _time_zones(),
        _files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ]


def _disk(data_dir: Path) -> Finding:
    folder = nearest_folder(data_dir)
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GB free for {data_dir}"
    if not os.access(folder, os.W_OK):
        return missing("disk", f"{folder} cannot be written by this user")
    if free < LEAST_FREE_BYTES:
        return missing("disk", f"{text}: make room")
    if free < COMFORTABLE_FREE_BYTES:
        return note("disk", f"{text}: it will not last long")
    return ok("disk", text)


def _secret(settings: Settings) -> Finding:
    if settings.secret_key is not None:
        return ok("secret", "given by RUGPT_SECRET_KEY")
    path = settings.data_dir / "secret.key"
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        return note("secret", "not made yet: the first start makes it in the data folder")
    except PermissionError:
        return missing("secret", f"{path} cannot be looked at by this user")
    if mode & 0o077:
        return missing("secret", f"others can read {path}: chmod 600 {path}")
    if not os.access(path, os.R_OK):
        return missing("secret", f"{path} cannot be read by this user")
    return ok("secret", f"{path}, readable by its owner alone")


def _time_zones() -> Finding:
    try:
        ZoneInfo("Europe/Moscow")
    except ZoneInfoNotFoundError:
        return missing("time zones", "there is no time zone data: install the package tzdata")
    return ok("time zones", "known")


def _files(limit: int) -> Finding:
    if limit in (resource.RLIM_INFINITY, -1):
        return ok("open files", "without limit")
    text = f"at most {limit}"
    if limit < LEAST_FILES:
        return missing("open files", f"{text}, too few to serve anybody: raise ulimit -n")
    if limit < COMFORTABLE_FILES:
        return note("open files", f"{text}, enough for some {limit // 2} live streams (ulimit -n)")
    return ok("open files", text)
