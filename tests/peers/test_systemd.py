"""The units of deploy/systemd, as systemd itself reads and judges them."""

import re
import subprocess
from pathlib import Path

import pytest

from bench.processes import ROOT

pytestmark = pytest.mark.system

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
PLACE = "/opt/rugpt"
MOST_EXPOSED = 20  # of 100; systemd calls up to 20 "OK", and a service that says nothing 92 "UNSAFE"


def systemd(*words: str) -> tuple[int, str]:
    """Run one of systemd's programs; return its status and all that it says."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=50)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say_against_a_unit(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text("utf-8")
    (tmp_path / name).write_text(text.replace(PLACE, str(ROOT)), "utf-8")
    (tmp_path / f"wrong-{name}").write_text(
        text.replace("UMask=", "UMaks=").replace(PLACE, str(ROOT)), "utf-8"
    )

    assert systemd("systemd-analyze", "verify", str(tmp_path / name)) == (0, "")
    _, said = systemd("systemd-analyze", "verify", str(tmp_path / f"wrong-{name}"))
    assert "UMaks" in said


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_may_do_little_beyond_its_work(name: str, tmp_path: Path) -> None:
    bare = re.sub(r"^(?:Protect|Restrict|Private|SystemCall|Capability)\w+=.*\n", "",
                  (FOLDER / name).read_text("utf-8"), flags=re.MULTILINE)  # fmt: skip
    (tmp_path / name).write_text(bare, "utf-8")

    status, said = judged(FOLDER / name)

    assert status == 0, said
    assert judged(tmp_path / name)[0] != 0


def judged(unit: Path) -> tuple[int, str]:
    return systemd("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))


def test_the_user_is_made_without_a_way_to_sign_in(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()

    systemd("systemd-sysusers", f"--root={tmp_path}", str(FOLDER / "rugpt.sysusers.conf"))

    (line,) = (tmp_path / "etc" / "passwd").read_text().splitlines()
    name, _, number, _, _, home, shell = line.split(":")
    assert (name, home, shell) == ("rugpt", "/var/lib/rugpt", "/usr/sbin/nologin")
    assert number != "0"


def test_the_guide_and_the_units_speak_of_the_same_places() -> None:
    guides = ROOT / "docs" / "guides"
    guide, scale = ((guides / name).read_text("utf-8") for name in ("deploy.md", "scale.md"))

    for name in UNITS:
        assert f"deploy/systemd/{name}" in guide + scale
        assert f"ExecStart={PLACE}/.venv/bin/python -P -m engine.cli " in (FOLDER / name).read_text("utf-8")
    assert f"git clone <the repository> {PLACE}" in guide
    assert "/var/lib/rugpt/.env" in guide
    assert "/var/lib/rugpt/.env" in scale
