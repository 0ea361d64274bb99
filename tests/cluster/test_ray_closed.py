"""A cluster that asks for no token has none of us, and one of ours shows nothing unasked."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.processes import ROOT, DidNotStart
from engine.core.settings import Settings
from ray_cluster.closed import RayClusterOpen, require_closed
from ray_cluster.cluster import Head, RayNotStarted, environment, start_head, token_file
from tests.process.conftest import StartEngine

pytestmark = [pytest.mark.cluster, pytest.mark.system, pytest.mark.timeout(120)]


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return token_file(Settings(_env_file=None, data_dir=tmp_path))  # type: ignore[call-arg]


@pytest.fixture
def open_head(tmp_path: Path, token: Path) -> Iterator[Head]:
    """A cluster that somebody has started as Ray starts one by itself."""
    head = start_head(tmp_path, {**environment(token), "RAY_AUTH_MODE": "disabled"})
    yield head
    head.stop()


async def test_an_open_cluster_is_joined_by_no_engine_and_no_machine(
    start_engine: StartEngine, open_head: Head, token: Path
) -> None:
    for host in (open_head.address.partition(":")[0], "localhost"):
        with pytest.raises(RayClusterOpen):
            require_closed(f"{host}:{open_head.address.partition(':')[2]}")
    with pytest.raises(DidNotStart, match="asks for no token"):
        await start_engine(
            RUGPT_RUNTIME="ray", RUGPT_RAY_ADDRESS=open_head.address, RUGPT_RAY_TOKEN_FILE=str(token)
        )
    machine = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli", "worker", "--address", open_head.address),
        cwd=token.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RUGPT_RAY_TOKEN_FILE": str(token)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert machine.stdout is not None
    try:
        async with asyncio.timeout(30):
            while b"machine_not_joined" not in (said := await machine.stdout.readline()):
                assert said, "it has ended"
    finally:
        machine.terminate()
        await machine.wait()

    assert b"ray_cluster_open" in said


def test_a_cluster_of_ours_is_closed(tmp_path: Path, token: Path) -> None:
    head = start_head(tmp_path, environment(token))
    try:
        require_closed(head.address)
    finally:
        head.stop()


def test_the_dashboard_is_started_where_it_is_asked_for(tmp_path: Path, token: Path) -> None:
    with pytest.raises(RayNotStarted, match="Cannot include dashboard with missing packages"):
        start_head(tmp_path, environment(token), has_dashboard=True)
