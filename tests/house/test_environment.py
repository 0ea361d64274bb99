"""The environment is made once, is made anew when its lock changes, and half of one is never trusted."""

import fcntl
from pathlib import Path

import pytest

from scripts.make_environment import make_environment

LOCK = "requirements.txt"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose lock asks for nothing, with its environment made."""
    root = tmp_path_factory.mktemp("checkout")
    (root / LOCK).write_text("# nothing\n", encoding="utf-8")
    make_environment(root, LOCK, say=lambda line: None)
    return root


def test_an_environment_that_is_current_is_left_alone(checkout: Path) -> None:
    said: list[str] = []

    make_environment(checkout, LOCK, say=said.append)

    assert said == []
    assert [path.read_text("utf-8") for path in checkout.rglob("*.pth")].count(f"{checkout}\n") == 1


def test_a_changed_lock_is_installed(checkout: Path) -> None:
    said: list[str] = []
    (checkout / LOCK).write_text("# still nothing\n", encoding="utf-8")

    make_environment(checkout, LOCK, say=said.append)

    assert any("installing 0 packages" in line for line in said)


def test_half_an_environment_is_begun_anew(checkout: Path) -> None:
    said: list[str] = []
    environment = checkout / ".venv"
    (environment / "unfinished").touch()
    (environment / "left behind").touch()

    make_environment(checkout, LOCK, say=said.append)

    assert any(line.startswith("making ") for line in said)
    assert not (environment / "left behind").exists()
    assert not (environment / "unfinished").exists()


def test_what_cannot_be_installed_is_said_and_leaves_what_there_was(checkout: Path) -> None:
    lock = "requirements-dev.txt"
    (checkout / lock).write_text("./no-such-package.whl\n", encoding="utf-8")

    with pytest.raises(SystemExit, match=r"no-such-package(?s:.*)could not be installed"):
        make_environment(checkout, lock, say=lambda line: None)

    said: list[str] = []
    make_environment(checkout, LOCK, say=said.append)
    assert said == []


def test_two_at_once_take_turns(checkout: Path) -> None:
    with (checkout / ".venv.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        (checkout / LOCK).write_text("# nothing, once more\n", encoding="utf-8")
        said: list[str] = []

        def hand_over(line: str) -> None:
            said.append(line)
            fcntl.flock(turn, fcntl.LOCK_UN)

        make_environment(checkout, LOCK, say=hand_over)

    assert said[0].startswith("waiting for another script")
