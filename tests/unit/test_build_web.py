"""The web client is built when its sources changed, and a build that fails takes nothing away."""

import json
import sys
from pathlib import Path

import pytest

from scripts import build_web, node
from scripts.build_web import build, is_current
from scripts.node import NodeMissing, NpmFailed

# Stands in for npm: installs nothing, and "builds" what the sources say.
NPM = """
import pathlib, sys
verb, *rest = sys.argv[1:]
pathlib.Path("../calls").open("a").write(" ".join([verb, *rest]) + "\\n")
source = pathlib.Path("src/main.ts").read_text()
if source.startswith(verb):
    sys.exit(source)
if verb == "ci":
    pathlib.Path("node_modules").mkdir(exist_ok=True)
if verb == "run" and rest[0] == "build":
    out = pathlib.Path(rest[rest.index("--outDir") + 1])
    out.mkdir(exist_ok=True)
    (out / "index.html").write_text(source)
"""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "npm.py").write_text(NPM, "utf-8")
    monkeypatch.setattr(build_web, "bring_npm", lambda say: [sys.executable, str(tmp_path / "npm.py")])
    folder = tmp_path / "web"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.ts").write_text("first", "utf-8")
    (folder / "package-lock.json").write_text("{}", "utf-8")
    (folder / "package.json").write_text(json.dumps({"scripts": {"check": "", "build": ""}}), "utf-8")
    return folder


def calls(web: Path) -> list[str]:
    log = web.parent / "calls"
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [" ".join(line.split()[:2]) for line in lines]


def page(web: Path) -> str:
    return (web / "dist" / "index.html").read_text("utf-8")


def test_a_client_is_built_once_and_again_when_its_sources_change(web: Path) -> None:
    said: list[str] = []
    build(web, said.append)
    assert (calls(web), page(web)) == (["ci --ignore-scripts", "run build"], "first")
    assert said

    said.clear()
    build(web, said.append)
    assert (calls(web), said) == ([], [])

    (web / "src" / "main.ts").write_text("second", "utf-8")
    build(web, said.append)
    assert (calls(web), page(web)) == (["run build"], "second")


def test_tests_and_types_do_not_count_as_sources(web: Path) -> None:
    build(web, lambda line: None)
    calls(web)
    (web / "tests").mkdir()
    (web / "tests" / "main.test.ts").write_text("", "utf-8")
    (web / "src" / "schema.d.ts").write_text("", "utf-8")

    assert is_current(web)


def test_a_new_lock_brings_new_packages(web: Path) -> None:
    build(web, lambda line: None)
    calls(web)
    (web / "package-lock.json").write_text('{"name": "web"}', "utf-8")

    build(web, lambda line: None)

    assert calls(web) == ["ci --ignore-scripts", "run build"]


def test_a_build_that_fails_leaves_the_one_before(web: Path) -> None:
    build(web, lambda line: None)
    (web / "src" / "main.ts").write_text("run: a mistake on line 7", "utf-8")

    with pytest.raises(NpmFailed, match="a mistake on line 7"):
        build(web, lambda line: None)

    assert page(web) == "first"
    assert not is_current(web)


def test_the_tools_of_the_tests_are_installed_only_for_the_checks(web: Path) -> None:
    build(web, lambda line: None)
    calls(web)

    build_web.check(web, lambda line: None)
    build_web.check(web, lambda line: None)

    assert calls(web) == ["ci --ignore-scripts", "run check", "run check"]


def test_without_a_network_the_checks_are_left_out_and_said_to_be(
    web: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_web, "WEB", web)
    (web / "src" / "main.ts").write_text("ci: getaddrinfo ENOTFOUND registry", "utf-8")

    assert build_web.main(["--check"]) == 0
    assert "LEFT OUT" in capsys.readouterr().err
    assert build_web.main([]) == 1


def test_checks_that_fail_are_a_failure(
    web: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_web, "WEB", web)
    (web / "src" / "main.ts").write_text("run: 3 errors", "utf-8")

    assert build_web.main(["--check"]) == 1
    assert "3 errors" in capsys.readouterr().err


def test_long_work_says_that_it_goes_on_and_is_ended_in_the_end(
    web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "SECONDS_BETWEEN_LINES", 0.05)
    monkeypatch.setattr(node, "MOST_SECONDS", 0.3)
    (web.parent / "npm.py").write_text("import time; time.sleep(60)", "utf-8")
    said: list[str] = []

    with pytest.raises(NpmFailed, match="stopped after"):
        build(web, said.append)

    assert sum("still installing" in line for line in said) >= 2


def test_a_machine_without_node_and_without_its_wheel_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(node, "find_npm", lambda: None)
    monkeypatch.setattr(node, "NODE_LOCK", tmp_path / "no-such-lock.txt")

    with pytest.raises(NodeMissing, match=r"no Node.js 20\.19"):
        node.bring_npm(lambda line: None)
