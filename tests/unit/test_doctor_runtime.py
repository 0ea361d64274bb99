"""What the doctor says of who works runs."""

import pytest
from pydantic import SecretStr

from engine.cli.doctor.findings import State
from engine.cli.doctor.runtime import look_at_runtime
from engine.core.settings import Settings
from ray_cluster import closed, room
from ray_cluster.closed import RayClusterOpen

HERE = SecretStr("postgresql://app@127.0.0.1/rugpt")
SOCKET = SecretStr("postgresql://app@/rugpt?host=/var/run/postgresql")
THERE = SecretStr("postgresql://app@10.0.0.30/rugpt")


@pytest.mark.parametrize(
    ("given", "state", "says"),
    [
        ({"runtime": "inline"}, State.OK, "own process"),
        ({}, State.OK, "Ray on this machine"),
        ({"ray_port": 6379}, State.MISSING, "RUGPT_DATABASE_URL"),
        ({"ray_address": "10.0.0.1:6379"}, State.MISSING, "RUGPT_DATABASE_URL"),
        ({"ray_port": 6379, "database_url": HERE}, State.NOTE, "this machine alone"),
        ({"ray_port": 6379, "database_url": SOCKET}, State.NOTE, "this machine alone"),
        ({"ray_port": 6379, "database_url": THERE}, State.OK, "Ray on this machine"),
        ({"ray_address": "10.0.0.1:6379", "database_url": THERE}, State.OK, "the cluster at 10.0.0.1:6379"),
    ],
)
def test_it_says_who_works_runs_and_what_keeps_them(
    given: dict[str, object], state: State, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: None)
    monkeypatch.setattr(closed, "require_closed", lambda address: None)

    (found,) = look_at_runtime(Settings(_env_file=None, **given))  # type: ignore[arg-type, call-arg]

    assert (found.about, found.state) == ("runs", state)
    assert says in found.text


def test_it_says_where_there_is_no_room_for_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: 500 * 2**20)

    (found,) = look_at_runtime(Settings(_env_file=None))  # type: ignore[call-arg]

    assert found.state is State.NOTE
    assert "500" in found.text


def test_it_says_that_a_cluster_is_open_to_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    def let_in(address: str) -> None:
        raise RayClusterOpen(f"{address} asks for no token")

    monkeypatch.setattr(closed, "require_closed", let_in)
    settings = Settings(_env_file=None, ray_address="10.0.0.1:6379", database_url=THERE)  # type: ignore[call-arg]

    (found,) = look_at_runtime(settings)

    assert found.state is State.MISSING
    assert "asks for no token" in found.text
