"""Two machines of one cluster, each with an API and workers, behind the firewall of deploy/."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from bench.processes import ROOT
from tests.cluster.conftest import WORKER, is_named
from tests.namespaces import Machine, network
from tests.peers.firewall import close
from tests.peers.ray_node import GCS_PORT
from tests.process.conftest import Follow, follow
from tests.process.engine import SECRET, EngineProcess, Person, eventually, register
from tests.process.model import PlannedModel, slowly

__all__ = ["follow"]

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
TAKEOVER_SECONDS = 15.0


@dataclass
class WorkerMachine:
    """A running `rugpt worker`."""

    process: asyncio.subprocess.Process
    output: Path

    @property
    def log(self) -> str:
        return self.output.read_text(errors="replace")


@asynccontextmanager
async def rugpt_worker(machine: Machine, token: Path, head: str) -> AsyncIterator[WorkerMachine]:
    """Let a machine join a cluster by our own command."""
    output = token.parent / f"worker-{machine.holder}.log"
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *machine.command(sys.executable, "-m", "engine.cli", "worker", "--address", f"{head}:{GCS_PORT}"),
            cwd=token.parent,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "RUGPT_RAY_TOKEN_FILE": str(token),
                "RUGPT_DRAIN_SECONDS": "20",
            },
            stdout=log,
            stderr=log,
        )
    made = WorkerMachine(process, output)
    try:
        await eventually(lambda: "machine_joined" in made.log, what="the machine in the cluster", seconds=60)
        yield made
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)


@asynccontextmanager
async def model_for(address: str) -> AsyncIterator[PlannedModel]:
    """Serve a planned model where every machine reaches it."""
    model = PlannedModel()
    runner = web.AppRunner(model.application(), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, 0).start()
        model.url = f"http://{address}:{runner.addresses[0][1]}"
        yield model
    finally:
        await runner.cleanup()


def workers_on(machine: Machine) -> list[psutil.Process]:
    """Return the processes that work runs on a machine."""
    return processes_on(machine, WORKER)


def processes_on(machine: Machine, name: str) -> list[psutil.Process]:
    """Return the processes of a machine that have this name in their command line."""
    here = Path(f"/proc/{machine.holder}/ns/net").readlink()
    return [one for one in psutil.process_iter() if is_named(one, name) and namespace_of(one) == here]


def namespace_of(process: psutil.Process) -> Path | None:
    """Return the network that a process is in, or None when it is gone."""
    try:
        return Path(f"/proc/{process.pid}/ns/net").readlink()
    except OSError:
        return None


async def test_people_of_either_machine_see_the_runs_of_both_and_a_machine_that_leaves_loses_none(
    database_url: str, application_url: str, follow: Follow
) -> None:
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        net = running.enter_context(network(2))
        first, second = net.machines
        close(first, peers=(second.address,))
        close(second, peers=(first.address,))
        model = await running.enter_async_context(model_for(net.host))
        token = folder / "token"
        token.write_text("t" * 64)
        token.chmod(0o600)
        settings = {
            **model.settings,
            "RUGPT_DATABASE_URL": application_url,
            "RUGPT_DATABASE_OWNER_URL": database_url,
            "RUGPT_SECRET_KEY": SECRET,
            "RUGPT_RUNTIME": "ray",
            "RUGPT_RAY_TOKEN_FILE": str(token),
        }

        async def engine(machine: Machine, **more: str) -> EngineProcess:
            data = folder / f"data-{machine.holder}"
            started = await EngineProcess.start(
                data, {**settings, **more}, is_ready=False, machine=machine, port=443
            )
            running.push_async_callback(started.kill)
            await started.wait_until_ready(90)
            await started.wait_until_worked_by(1)
            return started

        here = await engine(first, RUGPT_RAY_PORT=str(GCS_PORT))
        worker = await running.enter_async_context(rugpt_worker(second, token, first.address))
        there = await engine(second, RUGPT_RAY_ADDRESS=f"{first.address}:{GCS_PORT}")
        await eventually(lambda: bool(workers_on(first) and workers_on(second)), what="workers", seconds=60)

        ann = await register(here.port, here.host)
        ann_there = Person(there.port, ann.token, ann.user, there.host)
        model.script = slowly(words=20)
        chats = [await ann.open_chat() for _ in range(6)]
        followers = [await follow(ann if n % 2 else ann_there, chat_id) for n, chat_id in enumerate(chats)]
        for n, chat_id in enumerate(chats):  # Whoever asks here is followed there.
            await (ann_there if n % 2 else ann).post(chat_id, "@@lawyer Что со сроком?")
        for follower in followers:
            await follower.until(lambda seen: seen.has_ended(), seconds=60)
            assert len(follower.picture.answers) == 1
            assert follower.picture.kinds.count("run.delta") >= 3
            await follower.check_against_fresh_load()

        model.script = slowly(words=60)
        for n, chat_id in enumerate(chats):
            await (ann_there if n % 2 else ann).post(chat_id, "@@lawyer А если поставщик опоздает?")
        await followers[0].until(lambda seen: len(seen.runs) == 2)
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(worker.process.wait(), 60)
        assert workers_on(second) == []
        for follower in followers:
            await follower.until(lambda seen: seen.has_ended() and len(seen.answers) == 2, seconds=60)
            assert sum(run.restarts for run in follower.picture.runs.values()) == 0
            await follower.check_against_fresh_load()
        assert '"workers": 0' in worker.log
