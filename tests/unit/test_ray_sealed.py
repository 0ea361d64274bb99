"""What travels to an actor, and the token that closes a cluster."""

import json
import os
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from bench.processes import ROOT
from engine.core.settings import Settings
from ray_cluster import cluster, models
from ray_cluster.cluster import RayPortsTaken, RayTokenUnsafe, environment, is_open_to_others, token_file
from ray_cluster.models import place_of
from ray_cluster.release import release_of
from ray_cluster.sealed import SettingsSealBroken, seal, unseal

TOKEN = b"t" * 64
OTHER = b"u" * 64


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
    opened = unseal(sealed, TOKEN)
    assert opened.model_copy(update={"model_replica_key": None}) == given
    assert opened.model_replica_key == unseal(sealed, TOKEN).model_replica_key
    assert opened.model_replica_key != unseal(seal(given, OTHER), OTHER).model_replica_key
    with pytest.raises(SettingsSealBroken):
        unseal(sealed, OTHER)


def test_a_cluster_of_ones_own_gets_a_token_that_only_its_owner_can_read(tmp_path: Path) -> None:
    settings = some(data_dir=tmp_path)

    path = token_file(settings)

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text()) == 64
    assert token_file(settings).read_text() == path.read_text()
    told = environment(path)
    assert told["RAY_AUTH_MODE"] == "token"
    assert told["RAY_USAGE_STATS_ENABLED"] == "0"
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


@pytest.mark.parametrize(
    ("mode", "owner", "user", "is_open"),
    [
        (0o600, 1000, 1000, False),
        (0o640, 1000, 1000, True),  # ours: we can close it
        (0o440, 0, 1000, False),  # a mounted secret with an fsGroup
        (0o444, 0, 1000, True),
        (0o460, 0, 1000, True),
        (0o440, 0, 0, True),
        (0o400, 0, 0, False),
    ],
)
def test_a_token_may_be_roots_and_readable_by_a_group_that_root_chose(
    mode: int, owner: int, user: int, is_open: bool
) -> None:
    file = os.stat_result((0o100000 | mode, 1, 1, 1, owner, 2000, 64, 0, 0, 0))

    assert is_open_to_others(file, user=user) is is_open


def test_the_folder_of_secrets_is_of_one_machine_and_does_not_travel(tmp_path: Path) -> None:
    (tmp_path / "rugpt_database_url").write_text("postgresql://app@db/rugpt\n")
    given = some(secrets_dir=tmp_path)

    arrived = unseal(seal(given, TOKEN), TOKEN)

    assert arrived.database_url == SecretStr("postgresql://app@db/rugpt")
    assert arrived.secrets_dir is None


def test_where_there_is_no_ray_that_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.require_ray()

    monkeypatch.setattr(cluster, "find_spec", lambda _: None)

    with pytest.raises(cluster.RayNotInstalled, match="--runtime inline"):
        cluster.require_ray()


def test_an_installation_has_actors_of_its_own_and_its_name_for_them_tells_no_secret() -> None:
    here = some(database_url=SecretStr("postgresql://rugpt:hunter2@db:5432/rugpt"))
    changed_password = some(database_url=SecretStr("postgresql://rugpt:hunter3@db:5432/rugpt"))
    other = some(database_url=SecretStr("postgresql://rugpt:hunter2@db:5432/other"))

    assert cluster.namespace_of(here) == cluster.namespace_of(changed_password)
    assert cluster.namespace_of(here) != cluster.namespace_of(other)


def test_a_release_is_its_code_and_what_workers_are_told_and_nothing_of_one_machine() -> None:
    one = release_of(some(port=1, data_dir=Path("/a")), TOKEN, since=1.0)
    elsewhere = release_of(some(port=2, data_dir=Path("/b")), TOKEN, since=2.0)
    told_otherwise = release_of(some(worker_runs=7), TOKEN, since=3.0)

    assert one.name == elsewhere.name
    assert one < elsewhere
    assert told_otherwise.name != one.name
    assert release_of(some(), b"u" * 64, since=1.0).name != one.name


def test_the_way_to_a_cluster_is_an_address_of_this_machine() -> None:
    assert cluster.address_towards("127.0.0.1:6379") == "127.0.0.1"
    with pytest.raises(cluster.RayNotStarted, match="no way"):
        cluster.address_towards("nowhere")


def test_a_machine_whose_ports_are_taken_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(
            cluster, "MACHINE_PORTS", (f"--node-manager-port={port}", "--min-worker-port=10002")
        )
        with pytest.raises(RayPortsTaken, match=f"Port {port} is taken"):
            cluster.join("127.0.0.1:1")
    cluster.require_ports()


def test_a_strange_cluster_is_not_joined_without_its_token(tmp_path: Path) -> None:
    settings = some(data_dir=tmp_path, ray_address="192.0.2.7:6379")

    with pytest.raises(RayTokenUnsafe, match="Copy it"):
        token_file(settings)
    assert list(tmp_path.iterdir()) == []


def test_replicas_listen_for_other_machines_only_where_there_may_be_some() -> None:
    def hosts(**changes: object) -> set[str]:
        settings = some(model_replica_key=SecretStr("k" * 32), model_replica_port=9000, **changes)
        places = [place_of(settings, number=number, cores=1) for number in range(2)]
        assert [place.port for place in places] == [9000, 9001]
        return {place.host for place in places}

    assert hosts() == {"127.0.0.1"}
    assert hosts(ray_port=6379) == hosts(ray_address="192.0.2.7:6379") != {"127.0.0.1"}
    assert hosts(ray_port=6379, model_replica_host="loopback") == {"127.0.0.1"}


def test_replicas_of_a_cluster_listen_where_the_firewall_lets_other_machines_in() -> None:
    ranges = (ROOT / "deploy" / "firewall" / "rugpt.nft").read_text("utf-8")
    assert f" {models.FIRST_PORT}-{models.LAST_PORT}," in ranges
    settings = some(model_replica_key=SecretStr("k" * 32), model_replicas=2, ray_port=6379)

    places = [place_of(settings, number=number, cores=1) for number in range(2)]
    with socket.create_server((places[0].host, places[0].port)):
        taken = [place_of(settings, number=number, cores=1) for number in range(2)]

    assert all(models.FIRST_PORT <= place.port <= models.LAST_PORT for place in (*places, *taken))
    assert places[0].port != places[1].port
    assert taken[0].port not in (
        places[0].port,
        taken[1].port,
    )  # Those of another release may be there still.
    assert models.free_port("192.0.2.1", range(8000, 8002)) == 0
