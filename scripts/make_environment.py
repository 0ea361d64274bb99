"""Bring `.venv` up to a lock file: `python scripts/make_environment.py requirements.txt`.

Nothing is done when the lock was installed already. Two of these at once take turns, and one that was
interrupted leaves a mark, so that the next one starts afresh instead of trusting half an environment.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNTIME, DEVELOPMENT = "requirements.txt", "requirements-dev.txt"
SECONDS_BETWEEN_LINES = 5.0


def make_environment(root: Path, lock_name: str, *, say: Callable[[str], None]) -> None:
    """Make what is missing of `.venv`; raises SystemExit with a sentence when it cannot be made."""
    environment = root / ".venv"
    if _is_installed(environment, root / lock_name):
        return
    with (root / ".venv.lock").open("ab") as turn:
        _wait_for_turn(turn.fileno(), say)
        if _is_installed(environment, root / lock_name):  # Whoever was before us did it.
            return
        unfinished = environment / "unfinished"
        if unfinished.exists() or not _works(environment):
            say(f"making {environment}")
            if environment.exists():
                shutil.rmtree(environment)
            _run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
        if not _answers(environment, "import pip"):
            unfinished.touch()
            _run([str(_python(environment)), "-m", "ensurepip", "--upgrade", "--default-pip"])
            unfinished.unlink()
        _install(environment, root / lock_name, say, unfinished)
        _put_on_path(environment, root)
        _remember(environment, root, lock_name)
        unfinished.unlink(missing_ok=True)


def _is_installed(environment: Path, lock: Path) -> bool:
    stamp = environment / "installed"
    if (environment / "unfinished").exists() or not stamp.exists() or not _python(environment).exists():
        return False
    return _fingerprint(environment, lock) in stamp.read_text(encoding="utf-8").splitlines()


def _remember(environment: Path, root: Path, lock_name: str) -> None:
    # The development lock holds all of the runtime one, in the same versions.
    names = [RUNTIME, DEVELOPMENT] if lock_name == DEVELOPMENT else [lock_name]
    lines = [_fingerprint(environment, root / name) for name in names]
    (environment / "installed").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _fingerprint(environment: Path, lock: Path) -> str:
    # The place counts too: the scripts of a moved or copied environment point to where it was. So does the
    # interpreter: after an upgrade of the system's Python the packages lie where nobody looks.
    content = f"{environment.resolve()}\n{_python(environment).resolve()}\n".encode() + lock.read_bytes()
    return f"{lock.name} {hashlib.sha256(content).hexdigest()}"


def _wait_for_turn(descriptor: int, say: Callable[[str], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another script that is making the environment")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _works(environment: Path) -> bool:
    return _answers(environment, "import sys; sys.exit(sys.version_info < (3, 11))")


def _answers(environment: Path, program: str) -> bool:
    try:
        done = subprocess.run([str(_python(environment)), "-c", program], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _install(environment: Path, lock: Path, say: Callable[[str], None], unfinished: Path) -> None:
    total = len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), re.MULTILINE))
    say(f"installing {total} packages from {lock.name}; the first time takes a minute or two")
    started = time.monotonic()
    # Wheels only: a package that would need a compiler is refused instead of being tried.
    command = [str(_python(environment)), "-m", "pip", "install", "--require-hashes"]
    command += [
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
        "-r",
        str(lock),
    ]
    last_lines: deque[str] = deque(maxlen=25)
    seen, said_at = 0, started
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            last_lines.append(line.rstrip())
            collecting = re.match(r"(?:Collecting|Requirement already satisfied:) (\S+?)[<>=~; ]", line)
            seen += collecting is not None
            unpacking = line.startswith("Installing collected")
            if unpacking:  # Until here pip has changed nothing: a failed download leaves what there was.
                unfinished.touch()
            if unpacking or (collecting and time.monotonic() - said_at > SECONDS_BETWEEN_LINES):
                said_at = time.monotonic()
                say("unpacking" if unpacking or not collecting else f"{seen} of {total}: {collecting[1]}")
    if pip.returncode != 0:
        raise SystemExit(
            "\n".join([*last_lines, f"The packages of {lock.name} could not be installed (above: why)."])
        )
    say(f"the environment is ready ({time.monotonic() - started:.0f} s)")


def _put_on_path(environment: Path, root: Path) -> None:
    # Instead of an editable install, which would fetch a build system to write this very line.
    for packages in environment.glob("lib/python3*/site-packages"):
        (packages / "rugpt-engine.pth").write_text(f"{root}\n", encoding="utf-8")


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout.strip()}")


if __name__ == "__main__":
    os.environ.pop("PIP_REQUIRE_VIRTUALENV", None)
    try:
        make_environment(
            ROOT, sys.argv[1], say=lambda line: print(f"environment: {line}", file=sys.stderr, flush=True)
        )
    except KeyboardInterrupt:
        print("environment: interrupted; the next start begins it anew", file=sys.stderr)
        raise SystemExit(130) from None
