"""A model hosted on two machines of a cluster: workers ask both, through the firewall of deploy/."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from socket import inet_ntoa

import pytest

from engine.adapters.models import TINY
from ray_cluster.models import FIRST_PORT, LAST_PORT
from tests.cluster.replicas import ACTOR, bring_weights
from tests.namespaces import Machine, network
from tests.peers.firewall import close
from tests.peers.ray_node import GCS_PORT
from tests.peers.test_two_machines import processes_on, rugpt_worker, workers_on
from tests.process.conftest import Follow, follow
from tests.process.engine import SECRET, EngineProcess, eventually, register

__all__ = ["follow"]

pytestmark = [pytest.mark.system, pytest.mark.model, pytest.mark.timeout(300)]
SLOTS = 1
LISTENS, TALKS = "0A", "01"  # as the kernel writes it


async def test_workers_of_two_machines_ask_the_replicas_of_both(
    database_url: str, application_url: str, follow: Follow
) -> None:
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        net = running.enter_context(network(2))
        first, second = net.machines
        close(first, peers=(second.address,))
        close(second, peers=(first.address,))
        token = folder / "token"
        token.write_text("t" * 64)
        token.chmod(0o600)
        await asyncio.to_thread(bring_weights, folder)  # Neither machine has a way out.
        settings = {
            "RUGPT_DATABASE_URL": application_url,
            "RUGPT_DATABASE_OWNER_URL": database_url,
            "RUGPT_SECRET_KEY": SECRET,
            "RUGPT_MODEL": f"embedded:{TINY}",
            "RUGPT_MODEL_ANSWER_TOKENS": "40",
            "RUGPT_RUNTIME": "ray",
            "RUGPT_RAY_PORT": str(GCS_PORT),
            "RUGPT_RAY_TOKEN_FILE": str(token),
            "RUGPT_MODEL_REPLICAS": "2",
            "RUGPT_MODEL_REPLICA_CPUS": "2",  # All that a machine has: there is one on each.
            "RUGPT_MODEL_PARALLEL": str(SLOTS),
        }
        engine = await EngineProcess.start(folder, settings, is_ready=False, machine=first, port=443)
        running.push_async_callback(engine.kill)
        worker = await running.enter_async_context(rugpt_worker(second, token, first.address))
        await eventually(
            lambda: all(listening(one) for one in (first, second)),
            what="a replica on each machine",
            seconds=120,
        )
        await eventually(lambda: bool(workers_on(first) and workers_on(second)), what="workers", seconds=60)
        await engine.wait_until_ready(60)

        assert [len(processes_on(one, ACTOR)) for one in (first, second)] == [1, 1]
        ann = await register(engine.port, engine.host)
        chats = [await ann.open_chat() for _ in range(4)]
        followers = [await follow(ann, chat_id) for chat_id in chats]
        for chat_id in chats:  # More than one replica has room for.
            await ann.post(chat_id, "@@lawyer Что со сроком?")
        asked: set[tuple[str, str]] = set()  # who asks, and whose replica

        def both_are_asked() -> bool:
            for one in (first, second):
                asked.update((asker, one.address) for asker in askers(one))
            return len({whose for _, whose in asked}) == 2 and any(asker != whose for asker, whose in asked)

        await eventually(both_are_asked, what="a question for each, and from one to the other", seconds=60)
        for follower in followers:
            await follower.until(lambda seen: seen.has_ended(), seconds=120)
            assert [run.failure or run.status for run in follower.picture.runs.values()] == ["completed"]

        # A machine that leaves lets its replica end what it says; the other one answers what comes after.
        for chat_id in chats:
            await ann.post(chat_id, "@@lawyer А если поставщик опоздает?")
        await eventually(lambda: TALKS in {state for _, _, state in sockets(second)}, what="a question there")
        worker.process.terminate()
        await asyncio.wait_for(worker.process.wait(), 90)
        for follower in followers:
            await follower.until(lambda seen: len(seen.runs) == 2 and seen.has_ended(), seconds=120)
            assert [run.failure or run.status for run in follower.picture.runs.values()] == ["completed"] * 2


def listening(machine: Machine) -> set[int]:
    """Return the ports at which a machine's replicas listen."""
    return {port for port, _, state in sockets(machine) if state == LISTENS}


def askers(machine: Machine) -> set[str]:
    """Return the addresses from which a machine's replicas are asked."""
    return {other for _, other, state in sockets(machine) if state == TALKS}


def sockets(machine: Machine) -> Iterator[tuple[int, str, str]]:
    """Give the ports of a machine's replicas, who is at the other end, and the state of the connection."""
    for line in Path(f"/proc/{machine.holder}/net/tcp").read_text().splitlines()[1:]:
        ours, theirs, state = line.split()[1:4]
        port = int(ours.partition(":")[2], 16)
        if FIRST_PORT <= port <= LAST_PORT:
            yield port, inet_ntoa(bytes.fromhex(theirs.partition(":")[0])[::-1]), state
