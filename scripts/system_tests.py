"""Run the second stage of the tests, beside programs that are not ours and with more of Ray.

Then the tests of whole engines are run once more, with Ray. A folder may say in `needs.toml` which of its
tests need which program:

    [nginx]
    command = "nginx"            # it is there when this command is found
    debian = ["nginx-light"]     # the packages that bring it
    check = "tests.namespaces"   # a module that ends with 1, saying why, where the command is not enough
    tests = ["test_nginx.py"]    # left out, and named, where it cannot be had

and may hold a `package-lock.json` of npm packages, whose tests are named under `[npm]`.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from scripts.node import ROOT, NodeMissing, NpmFailed, bring_npm, environment_of, install_packages

ENGINES = "tests/process"  # Every day they are played in one process.
NO_TESTS = 5  # pytest's way to say that it found none
FOLDERS = ("tests/peers", "tests/browser", "tests/cluster")


def main(arguments: list[str]) -> int:
    """Bring what the tests need, say what cannot be had, run the rest; return the exit status."""
    folders = [ROOT / name for name in FOLDERS if any((ROOT / name).glob("test_*.py"))]
    if not folders:
        say("there are no tests of the second stage yet")
        return 0
    left_out = [test for folder in folders for test in bring_what_is_needed(folder)]
    command = [sys.executable, "-m", "pytest", "-m", "system", *(str(folder) for folder in folders)]
    command += [f"--ignore={test}" for test in left_out]
    status = subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode
    status = 0 if status == NO_TESTS and (left_out or arguments) else status
    say(f"{ENGINES} once more, with runs worked by Ray")
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "", ENGINES, *arguments],  # those of the second stage as well
        cwd=ROOT,
        env={**os.environ, "TESTS_RUNTIME": "ray"},
        check=False,
    ).returncode
    for test in left_out:
        say(f"LEFT OUT: {test.relative_to(ROOT)} (above: why)")
    return status or (0 if again == NO_TESTS and arguments else again)


def bring_what_is_needed(folder: Path) -> list[Path]:
    """Install what the tests of a folder need; return those that have to do without."""
    described = folder / "needs.toml"
    needs: dict[str, dict[str, Any]] = (
        tomllib.loads(described.read_text("utf-8")) if described.exists() else {}
    )
    left_out: list[Path] = []
    for name, need in needs.items():
        if not any((folder / test).exists() for test in need["tests"]):
            continue
        if name == "npm":
            why_not = bring_npm_packages(folder)
        else:
            why_not = bring_command(need["command"], need["debian"])
            why_not = why_not or refused_by(need.get("check"))
        if why_not:
            say(f"{name}: {why_not}")
            left_out += [folder / test for test in need["tests"]]
    return left_out


def bring_command(command: str, packages: list[str]) -> str | None:
    """Return None when the command is there, if need be after installing it; else why it is not."""
    search = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    if shutil.which(command, path=search):
        return None
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        return f"{command} is not installed, and there is no apt-get to install {wanted}"
    if os.geteuid() != 0:
        return f"{command} is not installed. As root: apt-get install {wanted}"
    say(f"installing {wanted}")
    quiet_apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    why_not = ""
    for line in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *line], env=quiet_apt, capture_output=True, text=True, check=False)
        why_not = done.stderr.strip()[-500:]
    if shutil.which(command, path=search):
        return None
    return f"apt-get install {wanted} did not bring {command}: {why_not}"


def refused_by(check: str | None) -> str | None:
    """Return why a check says that this machine will not do, or None."""
    if check is None:
        return None
    done = subprocess.run(
        [sys.executable, "-m", check], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stderr.strip()[-500:] if done.returncode else None


def bring_npm_packages(folder: Path) -> str | None:
    """Install a folder's npm packages by their lock; return None, or why that is not possible."""
    try:
        npm = bring_npm(say)
        install_packages(npm, folder, say)
    except (NodeMissing, NpmFailed) as failure:
        return str(failure)
    # The tests start their peers by the name `node`.
    os.environ["PATH"] = environment_of(npm)["PATH"]
    return None


def say(line: str) -> None:
    print(f"system tests: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
