"""Secrets stay out of the log, and others on the machine out of the settings."""

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from structlog.testing import capture_logs

from engine.cli.serve import warn_of_readable_secrets
from engine.core.logging import set_up_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def loggers() -> Iterator[None]:
    """Whatever a test does to the loggers is undone."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


def test_a_traceback_on_a_terminal_shows_no_variables(loggers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    set_up_logging("info")
    word = str(uuid4())

    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("failed")

    assert "RuntimeError: broken" in screen.getvalue()
    assert word not in screen.getvalue()


@pytest.mark.parametrize(
    ("mode", "text", "warns"),
    [
        (0o644, "RUGPT_OPENAI_API_KEY=sk-1\n", True),
        (0o640, "RUGPT_PORT=1\nexport RUGPT_DATABASE_URL = postgresql://a:b@c/d\n", True),
        (0o600, "RUGPT_OPENAI_API_KEY=sk-1\n", False),
        (0o644, "RUGPT_PORT=8100\n# RUGPT_SECRET_KEY=x\nRUGPT_SECRET_KEY=\nOTHER_KEY=1\n", False),
    ],
)
def test_settings_that_others_can_read_are_told(tmp_path: Path, mode: int, text: str, warns: bool) -> None:
    file = tmp_path / ".env"
    file.write_text(text)
    file.chmod(mode)

    with capture_logs() as heard:
        warn_of_readable_secrets(file)
        warn_of_readable_secrets(tmp_path / "none")

    assert [line["event"] for line in heard] == ["settings_readable_by_others"] * warns
    assert "sk-1" not in str(heard)
