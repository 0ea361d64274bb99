"""What travels to an actor, and the token that closes a cluster."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from engine.core.settings import Settings
from ray_cluster.cluster import RayTokenUnsafe, environment, token_file
from ray_cluster.sealed import SettingsSealBroken, seal, unseal

TOKEN = b"t" * 64


def some(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[arg-type, call-arg]


def test_settings_arrive_as_they_were_and_their_secrets_are_unreadable_on_the_way() -> None:
    given = some(
        database_url=SecretStr("postgresql://rugpt:hunter2@db/rugpt"),
        openai_api_key=SecretStr("sk-hunter3"),
        data_dir=Path("/srv/data"),
        workers=3,
    )

    sealed = seal(given, TOKEN)

    assert b"hunter" not in sealed
    assert unseal(sealed, TOKEN) == given
    with pytest.raises(SettingsSealBroken):
        unseal(sealed, b"u" * 64)


def test_a_cluster_of_ones_own_gets_a_token_that_only_its_owner_can_read(tmp_path: Path) -> None:
    settings = some(data_dir=tmp_path)

    path = token_file(settings)

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text()) == 64
    assert token_file(settings).read_text() == path.read_text()
    told = environment(path)
    assert told["RAY_AUTH_MODE"] == "token"
    assert path.read_text() not in json.dumps(told)


def test_a_token_that_others_can_read_or_that_is_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 64)
    path.chmod(0o644)
    settings = some(data_dir=tmp_path, ray_token_file=path)

    with pytest.raises(RayTokenUnsafe, match="chmod 600"):
        token_file(settings)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(RayTokenUnsafe, match="shorter"):
        token_file(settings)


def test_a_strange_cluster_is_not_joined_without_its_token(tmp_path: Path) -> None:
    settings = some(data_dir=tmp_path, ray_address="192.0.2.7:6379")

    with pytest.raises(RayTokenUnsafe, match="Copy it"):
        token_file(settings)
    assert list(tmp_path.iterdir()) == []
