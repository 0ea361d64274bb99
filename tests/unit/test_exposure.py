"""What the doctor says of ports that other machines could reach."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from engine.cli.doctor.exposure import exposures, look_at_exposure
from engine.cli.doctor.findings import State
from engine.cli.doctor.listening import Listener, Process, listeners
from engine.core.settings import Settings

TABLE = Path("/proc/net/tcp")
LISTEN = "import socket; s = socket.create_server(('{}', 0)); print(s.getsockname()[1], flush=True); input()"

pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="only Linux tells who listens where")


@contextmanager
def listening_process(name: str, address: str) -> Iterator[int]:
    """Run a process under some name that listens on a port, and give the port."""
    with subprocess.Popen(
        [name, "-c", LISTEN.format(address)],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate(b"\n")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_is_seen_with_its_address(address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        (found,) = [each for each in listeners() if each.port == port]

    assert found.address == ip_address(address)
    assert found.is_open_to_others == (address == "0.0.0.0")


def test_an_address_is_read_in_whole(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout i\n"
    line = "   0: {}:1F90 {}:0000 {} 00000000:00000000 00:00000000 00000000     0        0 77 1 0 1 0 0\n"
    mapped, everywhere = "0000000000000000FFFF00000100007F", "0" * 32
    (tmp_path / "tcp").write_text(
        head + line.format("0A00000A", "0" * 8, "0A") + line.format("0B00000A", "0" * 8, "01")
    )
    (tmp_path / "tcp6").write_text(
        head + "".join(line.format(address, "0" * 32, "0A") for address in (mapped, everywhere))
    )

    found = listeners(tmp_path)

    assert [str(each.address) for each in found] == ["10.0.0.10", "127.0.0.1", "::"]
    assert [(each.port, each.inode) for each in found] == [(8080, 77)] * 3
    assert [each.is_open_to_others for each in found] == [True, False, True]


def test_a_port_of_ray_on_every_address_is_told_and_one_on_the_loopback_is_not() -> None:
    settings = Settings.model_validate({"ollama_url": "http://elsewhere:11434"})
    with listening_process("ray::Worker", "0.0.0.0") as port, listening_process("raylet", "127.0.0.1") as own:
        found = look_at_exposure(settings)

    (of_ray,) = [finding for finding in found if finding.text.startswith("Ray ")]
    assert of_ray.state is State.NOTE
    assert f"0.0.0.0:{port}" in of_ray.text
    assert f":{own}" not in of_ray.text
    assert "rugpt.nft" in of_ray.text


@pytest.mark.parametrize(
    ("setting", "address", "whose"),
    [
        ("database_url", "postgresql://app:hush@127.0.0.1:{}/rugpt", "PostgreSQL"),
        ("ollama_url", "http://localhost:{}", "Ollama"),
        ("openai_base_url", "http://127.0.0.1:{}/v1", "the model server"),
    ],
)
def test_what_runs_beside_the_engine_is_known_by_its_settings(setting: str, address: str, whose: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        found = look_at_exposure(Settings.model_validate({setting: address.format(port)}))

    (finding,) = [each for each in found if f":{port}" in each.text]
    assert finding.text.startswith(f"{whose} listens for other machines: 0.0.0.0:{port}.")
    assert "hush" not in finding.text


@pytest.mark.parametrize(
    ("command", "whose"),
    [
        ("ray::WorkerActor", "Ray"),
        ("/srv/.venv/lib/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp", "Ray"),
        ("/srv/.venv/lib/ray/core/src/ray/raylet/raylet --raylet_socket_name=x", "Ray"),
        ("/srv/.venv/bin/python -m ray_cluster.host /srv/data/ray/token", "Ray"),
        ("/srv/.venv/bin/python -u /srv/ray/_private/runtime_env/agent/main.py", "Ray"),
        ("/srv/.venv/bin/python -m engine.cli serve", "the engine"),
        ("/srv/.venv/bin/python /srv/.venv/bin/rugpt serve", "the engine"),
        ("/usr/bin/array::tool", None),
        ("/usr/sbin/sshd -D", None),
    ],
)
def test_processes_are_known_by_their_command(command: str, whose: str | None) -> None:
    everywhere = Listener(ip_address("::"), 40_000, inode=7)

    found = dict(exposures([everywhere], [Process(command, frozenset({7}))], {}))

    assert found == ({whose: [everywhere]} if whose else {})


def test_nothing_open_is_said_to_be_well(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(re.sub(r"\n.*", "\n", TABLE.read_text(), flags=re.DOTALL))

    (finding,) = look_at_exposure(Settings.model_validate({}), proc=tmp_path)

    assert finding.state is State.OK


def test_where_nobody_tells_the_doctor_says_so(tmp_path: Path) -> None:
    (finding,) = look_at_exposure(Settings.model_validate({}), proc=tmp_path)

    assert finding.state is State.NOTE
    assert "does not tell" in finding.text
