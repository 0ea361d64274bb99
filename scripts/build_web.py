"""Build the web client into `web/dist` if its sources have changed; with --check, run its own checks instead.

Two of these at once take turns, and what is served meanwhile is the bundle before, whole.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a build of the wheel knows no other way

from scripts.node import ROOT, NodeMissing, NpmFailed, Say, bring_npm, install_packages, run_npm

WEB = ROOT / "web"
_NO_SOURCES = {"node_modules", "dist", "tests"}


def main(arguments: list[str]) -> int:
    """Return the exit status."""
    if not (WEB / "package.json").exists():
        return 0
    try:
        if arguments == ["--check"]:
            check(WEB, say)
        else:
            build(WEB, say)
    except NodeMissing as missing:
        say(f"LEFT OUT: {missing}")
        return 0 if arguments == ["--check"] else 1
    except NpmFailed as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say("interrupted; what was built before is still there")
        return 130
    return 0


def build(web: Path, say: Say) -> None:
    """Bring `dist` up to the sources; nothing is done when it is."""
    if is_current(web):
        return
    with (web / ".build.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if is_current(web):  # Whoever was before us built it.
            return
        started = time.monotonic()
        say("building the web client; the first time takes a minute or two")
        npm = bring_npm(say)
        install_packages(npm, web, say, for_tests=False)
        wanted = fingerprint(web)
        fresh = web / ".dist-fresh"
        arguments = ["run", "build", "--", "--outDir", fresh.name, "--emptyOutDir"]
        run_npm(npm, arguments, web, say, "still building")
        if not (fresh / "index.html").exists():
            raise NpmFailed("npm run build left no index.html")
        (fresh / ".built").write_text(f"{wanted}\n", "utf-8")
        _put_in_place(fresh, web / "dist")
        say(f"the web client is built ({time.monotonic() - started:.0f} s)")


def check(web: Path, say: Say) -> None:
    """Run the client's own checks and tests; raises NpmFailed with what they said."""
    npm = bring_npm(say)
    install_packages(npm, web, say)
    scripts = json.loads((web / "package.json").read_text("utf-8"))["scripts"]
    for name in ("types", "check"):
        if name in scripts:
            run_npm(npm, ["run", name], web, say, f"still at npm run {name}")


def is_current(web: Path) -> bool:
    """Tell whether `dist` was built from the sources as they are."""
    built = web / "dist" / ".built"
    return built.exists() and built.read_text("utf-8").strip() == fingerprint(web)


def fingerprint(web: Path) -> str:
    """Return what stands for the sources: their names and contents."""
    digest = hashlib.sha256()
    for path in _sources(web):
        name, content = path.relative_to(web).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %b %d %b" % (len(name), name, len(content), content))
    return digest.hexdigest()


def _sources(web: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(web):
        folders[:] = sorted(name for name in folders if name not in _NO_SOURCES and name[0] != ".")
        # Types are made from openapi.json and leave nothing in the bundle.
        yield from (
            Path(folder, name) for name in sorted(names) if name[0] != "." and not name.endswith(".d.ts")
        )


def _put_in_place(fresh: Path, place: Path) -> None:
    old = place.with_name(".dist-old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def say(line: str) -> None:
    print(f"web: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
