"""A machine behind the firewall of deploy/, looked at from another one: both are network namespaces."""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from bench.fake_model import Pace
from bench.processes import ROOT, start
from engine.cli.doctor.listening import listeners
from ray_cluster.cluster import environment
from tests.namespaces import Machine, Network, network
from tests.peers.firewall import close
from tests.peers.ray_node import GCS_PORT, ray_node
from tests.process.engine import EngineProcess, Follower, register

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

EDGE_PORT = 443
PACE = Pace(first_ms=20, gap_ms=5, tokens=8)


async def scan(of: Machine, *, by: Machine) -> set[int]:
    """Return the ports of one machine that another one can connect to, after trying all of them."""
    child = await asyncio.create_subprocess_exec(
        *by.command(sys.executable, "-m", "tests.peers.scan", of.address),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(child.communicate(), 90)
    assert child.returncode == 0
    return set(json.loads(output))


def listened_on(machine: Machine) -> set[int]:
    """Return the ports that a machine listens on beyond its loopback, as it says itself."""
    net = Path(f"/proc/{machine.holder}/net")
    return {each.port for each in listeners(net) if each.is_open_to_others}


@asynccontextmanager
async def engine_with_ray(machine: Machine, **more: str) -> AsyncIterator[EngineProcess]:
    """Run an engine and its Ray on a machine until its actors work; its API stands for the edge."""
    async with AsyncExitStack() as running:
        model = await start(
            "bench.fake_model",
            f"--first-ms={PACE.first_ms}", f"--gap-ms={PACE.gap_ms}", f"--tokens={PACE.tokens}",
            within=machine.command(),
        )  # fmt: skip
        running.push_async_callback(model.stop)
        folder = running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        settings = {
            "RUGPT_MODEL": f"openai:{PACE.model}",
            "RUGPT_OPENAI_BASE_URL": f"http://127.0.0.1:{model.port}/v1",
            "RUGPT_RUNTIME": "ray",
            **more,
        }
        engine = await EngineProcess.start(
            Path(folder), settings, is_ready=False, port=EDGE_PORT, machine=machine
        )
        running.push_async_callback(engine.terminate)
        await engine.wait_until_ready(90)
        await engine.wait_until_worked_by(1)
        yield engine


async def answered(engine: EngineProcess) -> bool:
    """Have a role asked; return whether its answer came."""
    ann = await register(engine.port, engine.host)
    chat_id = await ann.open_chat()
    follower = Follower(ann, chat_id)
    await follower.begin()
    await ann.post(chat_id, "@@lawyer Что со сроком?")
    await follower.until(lambda seen: seen.has_ended(), seconds=60)
    follower.cut()
    await follower.check_against_fresh_load()
    return bool(follower.picture.answers)


def open_ports_of_ray(machine: Machine, engine: EngineProcess) -> set[int] | None:
    """Return the ports of Ray of which the doctor warns, or None when it does not."""
    said = machine.run(sys.executable, "-m", "engine.cli", "doctor", "--data", str(engine.data))
    told = re.findall(r"^note +open ports: Ray listens for other machines: (.*?)\. ", said, re.MULTILINE)
    return {int(port) for port in re.findall(r":(\d+)", told[0])} if told else None


async def test_a_machine_that_is_alone_shows_nothing_of_ray_though_no_rules_are_loaded() -> None:
    with network(2) as net:
        server, stranger = net.machines
        async with engine_with_ray(server) as engine:
            found = await scan(server, by=stranger)
            assert await answered(engine)
            of_ray = open_ports_of_ray(server, engine)

    assert found == {EDGE_PORT}
    assert of_ray is None


async def test_from_outside_only_the_edge_answers_once_the_rules_are_loaded(
    database_url: str, application_url: str
) -> None:
    with network(2) as net:
        server, stranger = net.machines
        several = {
            "RUGPT_DATABASE_URL": application_url,
            "RUGPT_DATABASE_OWNER_URL": database_url,
            "RUGPT_RAY_PORT": str(GCS_PORT),
        }
        async with engine_with_ray(server, **several) as engine:
            before = await scan(server, by=stranger)
            close(server)
            after = await scan(server, by=stranger)
            assert await answered(engine)  # Ray goes on: what it says to itself is not turned away.
            of_ray = listened_on(server) - {EDGE_PORT}
            warned_of = open_ports_of_ray(server, engine)

    assert before > {EDGE_PORT}
    assert not before & {8265, 10001}  # the dashboard and the client server, which nobody has asked for
    assert {GCS_PORT, 6380, 6381} <= before & of_ray
    assert after == {EDGE_PORT}
    assert warned_of == of_ray


async def work_across(net: Network, token: Path, *, by: Machine) -> str:
    """Have an actor on every node answer a driver on a machine; return what the driver says."""
    child = await asyncio.create_subprocess_exec(
        *by.command(sys.executable, "-m", "tests.peers.across", f"{net.machines[0].address}:{GCS_PORT}", "2"),
        cwd=ROOT,
        env={**os.environ, **environment(token)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(child.communicate(), 90)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()[-2000:]
    return output.decode().splitlines()[-1]


async def test_machines_of_one_cluster_work_together_and_a_stranger_reaches_none_of_them() -> None:
    with network(3) as net, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        head, worker, stranger = net.machines
        token = Path(folder) / "token"
        token.write_text("t" * 64)
        close(head, peers=(worker.address,))
        close(worker, peers=(head.address,))
        with (
            ray_node(head, token, "--head", f"--port={GCS_PORT}", f"--temp-dir={folder}/r"),
            ray_node(worker, token, f"--address={head.address}:{GCS_PORT}"),
        ):
            answers = json.loads(await work_across(net, token, by=head))
            open_to_stranger = await scan(head, by=stranger) | await scan(worker, by=stranger)
            open_to_peer = await scan(head, by=worker)

    assert sorted(answers) == [head.address, worker.address]
    assert open_to_stranger == set()
    assert {GCS_PORT, 6380, 6381} <= open_to_peer
    assert all(6379 <= port <= 6385 or 10002 <= port <= 10999 for port in open_to_peer)


def test_the_rules_are_replaced_in_one_step_and_taken_back() -> None:
    with network(1) as net:
        (machine,) = net.machines
        close(machine)
        close(machine, peers=("10.0.0.11",))
        rules = machine.run("nft", "list", "table", "inet", "rugpt")
        machine.run("nft", "delete", "table", "inet", "rugpt")
        left = machine.run("nft", "list", "ruleset")

    assert rules.count("chain input") == 1
    assert "10.0.0.11" in rules
    assert left == ""
