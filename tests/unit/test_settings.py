"""Where settings come from, and which word counts."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from engine.cli import commands
from engine.core.errors import Invalid
from engine.core.settings import Settings


def read() -> Settings:
    """Read the settings as the front door does."""
    return commands._settings()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets as Kubernetes mounts one, named to the engine by the environment."""
    version = tmp_path / "..2026_11_27"
    version.mkdir()
    (version / "rugpt_database_url").write_text("postgresql://app:hush@db/rugpt\n")
    (version / "RUGPT_OPENAI_API_KEY").write_text("sk-of-a-file\n")
    (version / "something_else").write_text("of somebody else")
    for name in ("rugpt_database_url", "RUGPT_OPENAI_API_KEY", "something_else"):
        (tmp_path / name).symlink_to(Path(version.name) / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUGPT_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_secrets_are_read_from_the_files_of_a_folder(folder: Path) -> None:
    settings = read()

    assert settings.database_url == SecretStr("postgresql://app:hush@db/rugpt")
    assert settings.openai_api_key == SecretStr("sk-of-a-file")


def test_what_is_said_elsewhere_wins_over_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("RUGPT_DATABASE_URL=postgresql://of-dotenv/rugpt\n")
    monkeypatch.setenv("RUGPT_OPENAI_API_KEY", "sk-of-the-environment")

    settings = read()

    assert settings.database_url == SecretStr("postgresql://of-dotenv/rugpt")
    assert settings.openai_api_key == SecretStr("sk-of-the-environment")


def test_the_folder_may_be_named_in_the_settings_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUGPT_SECRETS_DIR")
    (folder / ".env").write_text(f"RUGPT_SECRETS_DIR={folder}\n")

    assert read().openai_api_key == SecretStr("sk-of-a-file")


def test_an_empty_file_counts_as_unset(folder: Path) -> None:
    (folder / "rugpt_secret_key").write_text("\n")

    assert read().secret_key is None


def test_a_folder_that_is_not_there_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUGPT_SECRETS_DIR", str(folder / "nowhere"))

    with pytest.raises(Invalid, match="RUGPT_SECRETS_DIR: must be a folder"):
        read()


def test_a_file_that_we_may_not_read_is_told_in_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", "rugpt_database_url")

    monkeypatch.setattr(Path, "read_text", refuse)

    with pytest.raises(Invalid, match="Permission denied: 'rugpt_database_url'"):
        read()
