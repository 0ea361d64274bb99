"""Where runs are worked: by Ray, unless somebody says otherwise or the machine cannot have it."""

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from engine.cli.ray_host import DatabaseOfOneMachine, with_runtime
from engine.core.settings import Settings
from ray_cluster import closed, cluster, room
from ray_cluster.closed import RayClusterOpen, require_closed
from ray_cluster.cluster import RayNotInstalled
from ray_cluster.room import NoRoomForRay, free_bytes

SHARED = {"database_url": SecretStr("postgresql://app@db/rugpt")}


def some(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[arg-type, call-arg]


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: room.LEAST_BYTES)
    monkeypatch.setattr(closed, "require_closed", lambda address: None)
    for name in ("RUGPT_RUNTIME", "RUGPT_RAY_ADDRESS", "RUGPT_RAY_PORT", "RUGPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_ray_unless_somebody_says_otherwise() -> None:
    assert with_runtime(some()).runtime == "ray"
    assert with_runtime(some(runtime="inline")).runtime == "inline"


def test_a_machine_without_room_has_one_process_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda: room.LEAST_BYTES - 1)

    with capture_logs() as heard:
        assert with_runtime(some()).runtime == "inline"
    assert "Ray wants 1000 MB of free memory, and there are 999." in heard[0]["reason"]
    with pytest.raises(NoRoomForRay, match="--runtime inline"):
        with_runtime(some(runtime="ray"))
    assert (
        with_runtime(some(ray_address="10.0.0.1:6379", **SHARED)).runtime == "ray"
    )  # Its room is elsewhere.


def test_a_machine_without_ray_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)

    assert with_runtime(some()).runtime == "inline"
    for asked in ({"runtime": "ray"}, {"ray_address": "10.0.0.1:6379", **SHARED}, {"ray_port": 1, **SHARED}):
        with pytest.raises(RayNotInstalled):
            with_runtime(some(**asked))


def test_a_cluster_of_several_machines_wants_a_database_that_all_of_them_reach() -> None:
    for several in ({"ray_port": 6379}, {"ray_address": "10.0.0.1:6379"}):
        with pytest.raises(DatabaseOfOneMachine, match="RUGPT_DATABASE_URL"):
            with_runtime(some(**several))
        assert with_runtime(some(**several, **SHARED)).runtime == "ray"


def test_a_cluster_that_asks_for_no_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def let_in(address: str) -> None:
        raise RayClusterOpen(address)

    monkeypatch.setattr(closed, "require_closed", let_in)

    assert with_runtime(some()).runtime == "ray"  # Its own is closed from the start.
    with pytest.raises(RayClusterOpen, match=r"10\.0\.0\.1"):
        with_runtime(some(ray_address="10.0.0.1:6379", **SHARED))


def test_a_cluster_that_does_not_answer_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    require_closed(f"127.0.0.1:{port}")


def test_what_a_container_may_use_is_less_than_what_the_machine_has(tmp_path: Path) -> None:
    memory, limit, used = (tmp_path / name for name in ("meminfo", "memory.max", "memory.current"))
    assert free_bytes(memory=memory, limit=limit, used=used) is None

    memory.write_text("MemTotal:       4000 kB\nMemAvailable:   3000 kB\n")
    assert free_bytes(memory=memory, limit=limit, used=used) == 3000 * 1024
    limit.write_text("max\n")
    used.write_text("500\n")
    assert free_bytes(memory=memory, limit=limit, used=used) == 3000 * 1024
    limit.write_text("2500\n")
    assert free_bytes(memory=memory, limit=limit, used=used) == 2000
