"""Whoever joins a cluster tries first what it needs, and says plainly what it cannot reach."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from engine.core.settings import Settings
from ray_cluster.reach import (
    ClusterOutOfReach,
    DatabaseOutOfReach,
    NoNodeHere,
    database_place,
    require_cluster,
    require_database,
    require_node,
)


def place_of(url: str) -> tuple[str, int]:
    return database_place(Settings(_env_file=None, database_url=SecretStr(url)))  # type: ignore[call-arg]


def try_from_here(*places: tuple[str, int]) -> None:
    """Let this machine try databases, each of a supervisor that answers at once."""
    ray: Any = SimpleNamespace(
        get=lambda places, timeout: places, exceptions=SimpleNamespace(RayError=ZeroDivisionError)
    )
    require_database(
        ray,
        [SimpleNamespace(database_place=SimpleNamespace(remote=lambda one=one: one)) for one in places],
    )


def test_a_place_is_taken_from_the_address_and_holds_no_secret() -> None:
    assert place_of("postgresql://app:hunter2@db.example:6543/rugpt") == ("db.example", 6543)
    assert place_of("postgresql://app:hunter2@10.0.0.30/rugpt") == ("10.0.0.30", 5432)
    assert place_of("postgresql://app@/rugpt?host=%2Fvar%2Frun%2Fpg") == ("/var/run/pg", 5432)


def test_what_answers_is_reached(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as local, socket.create_server(("127.0.0.1", 0)) as server:
        local.bind(str(tmp_path / ".s.PGSQL.5432"))
        local.listen()
        try_from_here(("127.0.0.1", server.getsockname()[1]), (str(tmp_path), 5432))


def test_what_does_not_answer_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for place in (("127.0.0.1", port), (str(tmp_path), 5432)):
        with pytest.raises(DatabaseOutOfReach, match="RUGPT_DATABASE_URL") as told:
            try_from_here(place)
        assert place[0] in told.value.message


def test_a_cluster_that_does_not_answer_is_told_by_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        require_cluster(address)

    for nobody in (address, "nonsense"):
        with pytest.raises(ClusterOutOfReach, match=nobody):
            require_cluster(nobody)


def test_a_machine_that_is_none_of_the_clusters_is_told_how_to_be_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray._private.services.find_node_ids", lambda: {"here"})
    require_node("10.0.0.20:6379")

    monkeypatch.setattr("ray._private.services.find_node_ids", set)
    with pytest.raises(NoNodeHere, match=r"rugpt worker --address 10\.0\.0\.20:6379"):
        require_node("10.0.0.20:6379")
