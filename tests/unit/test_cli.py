"""The front door's own rules, without an engine behind it."""

import io
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import commands
from engine.cli.doctor import machine, port
from engine.cli.doctor.configuration import look_at_settings, shown
from engine.cli.doctor.findings import Finding, State, is_anything_missing, missing, note, ok, show
from engine.cli.seed import removal, story
from engine.core.errors import Invalid
from engine.core.settings import Settings
from engine.domains.chats import find_mentions


def test_every_command_explains_itself() -> None:
    for command in ("serve", "migrate", "doctor", "chat", "seed"):
        result = CliRunner().invoke(commands.app, [command, "--help"])

        assert result.exit_code == 0
        assert command in result.output


def test_a_setting_that_cannot_be_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUGPT_SECRET_KEY", "too short, but secret")

    with pytest.raises(Invalid) as refused:
        commands._settings(port=70_000)

    assert "RUGPT_PORT" in refused.value.message
    assert "RUGPT_SECRET_KEY" in refused.value.message
    assert "secret, but" not in refused.value.message
    assert "too short, but" not in refused.value.message


def test_the_doctor_hides_secrets_among_the_settings() -> None:
    settings = Settings.model_validate(
        {"openai_api_key": "sk-hidden", "ollama_url": "http://me:hidden@gpu:11434", "port": 8200}
    )

    findings = {finding.about: finding.text for finding in look_at_settings(settings)}

    assert findings["RUGPT_OPENAI_API_KEY"] == "set (hidden)"
    assert findings["RUGPT_OLLAMA_URL"] == "http://…@gpu:11434"
    assert findings["RUGPT_PORT"] == "8200"
    assert shown("postgresql://a:b@host/db") == "postgresql://…@host/db"


def test_findings_are_lines_where_nobody_looks() -> None:
    output = io.StringIO()
    findings = [ok("disk", "much"), note("model", "later"), missing("clock", "wrong")]

    show(findings, output)

    assert output.getvalue() == "ok      disk: much\nnote    model: later\nmissing clock: wrong\n"
    assert is_anything_missing(findings)
    assert not is_anything_missing(findings[:2])


def test_a_secret_that_others_can_read_is_missing(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"x" * 32)
    settings = Settings.model_validate({"data_dir": tmp_path})

    (tmp_path / "secret.key").chmod(0o644)
    open_to_all = _found(settings, "secret")
    (tmp_path / "secret.key").chmod(0o600)
    kept = _found(settings, "secret")

    assert (open_to_all.state, kept.state) == (State.MISSING, State.OK)
    assert "chmod 600" in open_to_all.text


@pytest.mark.parametrize(
    ("limit", "state"), [(128, State.MISSING), (1024, State.NOTE), (65_536, State.OK), (-1, State.OK)]
)
def test_few_open_files_are_told(limit: int, state: State) -> None:
    assert machine._files(limit).state is state


def test_the_doctor_makes_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"

    assert _found(Settings.model_validate({"data_dir": folder}), "disk").state is not State.MISSING
    assert list(tmp_path.iterdir()) == []


async def test_a_port_that_something_else_has_is_missing() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings.model_validate({"port": other.getsockname()[1]})
        other.settimeout(0.1)
        port_now = await _short(settings)

    assert port_now.state is State.MISSING


def test_tables_go_before_those_they_point_to() -> None:
    points_to = {
        "chats": {"users"},
        "messages": {"chats", "users"},
        "users": set[str](),
        "drafts": {"messages"},
    }

    order = removal.in_order_of_removal({**points_to, "users": set()})

    assert order == ["drafts", "messages", "chats", "users"]
    with pytest.raises(removal.RemovalRefused):
        removal.in_order_of_removal({"a": {"b"}, "b": {"a"}})


def test_the_demo_calls_no_role_and_only_people_who_are_there() -> None:
    people = {person.username for person in story.PEOPLE}
    for room in story.ROOMS:
        for speaker, words in room.said:
            called = find_mentions(words, {"lawyer": "lawyer"})
            assert not called.roles + called.unknown_roles
            assert {reading for readings in called.users for reading in readings} <= set(room.members)
            assert speaker in room.members
        assert set(room.members) <= people


def _found(settings: Settings, about: str) -> Finding:
    return next(finding for finding in machine.look_at_machine(settings) if finding.about == about)


async def _short(settings: Settings) -> Finding:
    (finding,) = await port.look_at_port(settings)
    return finding
