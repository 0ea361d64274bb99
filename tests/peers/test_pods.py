"""The pods of deploy/kubernetes with network namespaces in their place: what the manifests say works.

Names, ports, policies and options are the manifests' own; the images, KubeRay and Kubernetes are not there.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml

from bench.processes import ROOT, start
from engine.cli.doctor.listening import listeners
from ray_cluster.cluster import end_group
from tests.namespaces import Machine, network
from tests.peers.nginx import nginx
from tests.peers.test_two_machines import model_for, workers_on
from tests.process.engine import SECRET, eventually, register
from tests.process.stream import Stream

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

FOLDER = ROOT / "deploy" / "kubernetes"
TOKEN = "t" * 44
HEAD = "rugpt-ray-head-svc"  # what KubeRay calls the head of the cluster rugpt-ray
# What the image has under the name by which KubeRay starts it.
RAY = (sys.executable, *(ROOT / "deploy" / "ray").read_text("utf-8").split("/bin/python")[1].split()[:-1])
NO_DNS = {"GRPC_DNS_RESOLVER": "native"}  # gRPC's own resolver would wait for a name server: here are none.


def manifest(name: str, kind: str) -> list[dict[str, Any]]:
    """Return the objects of one kind in a manifest."""
    return [each for each in yaml.safe_load_all((FOLDER / name).read_text("utf-8")) if each["kind"] == kind]


APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c")


class Pod:
    """A machine in which the head is known by its name; `within` runs a container of it.

    A container sees its own processes only, unless the pod's containers share them.
    """

    def __init__(self, machine: Machine, hosts: Path) -> None:
        self.machine = machine
        self._bind = f"mount --bind {hosts} /etc/hosts"
        self.within = machine.command(*APART, f'{self._bind} && exec "$@"', "sh")

    @contextmanager
    def sharing_processes(self) -> Iterator[None]:
        """Let the containers of this pod see one another's processes."""
        pause = subprocess.Popen(
            self.machine.command(*APART, f"{self._bind} && echo made && exec sleep infinity"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        with pause:
            try:
                assert pause.stdout is not None
                assert pause.stdout.readline() == b"made\n"
                (first,) = psutil.Process(pause.pid).children()
                self.within = ("nsenter", f"--target={first.pid}", "--net", "--mount", "--pid", "--")
                yield
            finally:
                pause.kill()

    @contextmanager
    def ray(self, parameters: dict[str, str], *more: str) -> Iterator[None]:
        """Run a node of Ray as KubeRay starts one: by these parameters, with the token as a variable."""
        flags = [
            f"--{name}" if value == "true" else f"--{name}={value}" for name, value in parameters.items()
        ]
        node = subprocess.Popen(
            [*self.within, *RAY, "start", "--block", *flags, *more],
            env={**os.environ, **NO_DNS, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            end_group(node)

    def close(self, pods: Sequence[str], vpn: str) -> None:
        """Let nobody in but by the network policies of the manifests."""
        listed = manifest("network.yaml", "NetworkPolicy")
        policies = {each["metadata"]["name"]: each["spec"] for each in listed}
        rules = ["iifname lo accept", "ct state established,related accept"]
        for name, sources in (("edge", [vpn]), ("ray", pods)):
            (rule,) = policies[name]["ingress"]
            ports = ", ".join(f"{port['port']}-{port.get('endPort', port['port'])}" for port in rule["ports"])
            rules.append(f"ip saddr {{ {', '.join(sources)} }} tcp dport {{ {ports} }} accept")
        known = ", ".join({*pods, vpn})
        text = f"""
            table inet pods {{
                chain in {{
                    type filter hook input priority 0; policy drop;
                    {"; ".join(rules)}
                }}
                chain out {{
                    type filter hook output priority 0; policy accept;
                    oifname != lo ip daddr != {{ {known} }} counter
                }}
            }}
        """
        with tempfile.NamedTemporaryFile("w", suffix=".nft") as file:
            file.write(text)
            file.flush()
            self.machine.run("nft", "-f", file.name)

    @property
    def sent_outside(self) -> int:
        """How many packets it has sent to others than the pods and the VPN."""
        listed = self.machine.run("nft", "list", "chain", "inet", "pods", "out")
        return int(re.findall(r"counter packets (\d+)", listed)[0])


async def ready(url: str, seconds: float = 120) -> dict[str, Any]:
    """Wait until the engine behind Nginx says that it can work."""
    async with asyncio.timeout(seconds), httpx2.AsyncClient(trust_env=False) as http:
        while True:
            answer = await http.get(f"{url}/api/v1/web/health/ready")
            if answer.status_code == 200:
                told: dict[str, Any] = answer.json()
                return told
            await asyncio.sleep(0.2)


async def test_the_pods_work_together_and_runs_are_worked_where_there_are_processors(
    database_url: str, application_url: str
) -> None:
    cluster = manifest("raycluster.yaml", "RayCluster")[0]["spec"]
    described = manifest("api.yaml", "Deployment")[0]["spec"]["template"]["spec"]
    containers = {each["name"]: each for each in described["containers"]}
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        net = running.enter_context(network(3))
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{net.machines[0].address} {HEAD}\n")
        head, worker, api = (Pod(machine, folder / "hosts") for machine in net.machines)
        for pod in (head, worker, api):
            pod.close([each.address for each in net.machines], net.host)
        if described.get("shareProcessNamespace"):
            running.enter_context(api.sharing_processes())
        model = await running.enter_async_context(model_for(net.host))

        parameters = cluster["headGroupSpec"]["rayStartParams"]
        running.enter_context(head.ray(parameters, "--head", f"--temp-dir={folder}/r"))
        group = cluster["workerGroupSpecs"][0]
        running.enter_context(worker.ray(group["rayStartParams"], f"--address={HEAD}:6379", "--num-cpus=2"))

        await eventually(lambda: 6380 in ports_of(worker.machine), what="the worker's node", seconds=60)

        settings = {
            **NO_DNS,
            **manifest("settings.yaml", "ConfigMap")[0]["data"],
            **model.settings,
            "RUGPT_SECRETS_DIR": str(secrets(folder, database_url, application_url)),
            "RUGPT_RAY_TOKEN_FILE": str(folder / "token"),
        }
        node = await asyncio.create_subprocess_exec(
            *(*api.within, sys.executable, "-P", "-m", "engine.cli", *containers["node"]["args"]),
            cwd=folder,
            env={
                **os.environ,
                **NO_DNS,
                "RUGPT_RAY_ADDRESS": containers["node"]["env"][0]["value"],
                "RUGPT_RAY_TOKEN_FILE": str(folder / "token"),
            },
            stdout=subprocess.DEVNULL,
        )
        running.push_async_callback(node.wait)
        running.callback(node.kill)
        engine = await start(
            "engine.cli", *containers["engine"]["args"], "--data", str(folder / "data"),
            environment=settings, within=api.within,
        )  # fmt: skip
        running.push_async_callback(engine.stop)
        address = api.machine.address
        port = await running.enter_async_context(
            nginx(folder, "127.0.0.1:8100", vpn=f"{net.host}/32", machine=api.machine)
        )
        await ready(f"http://{address}:{port}")
        await eventually(lambda: bool(workers_on(worker.machine)), what="a worker in its pod", seconds=60)
        ann = await register(port, address, prefix="/web")
        new = {"title": "Поставка", "kind": "group", "members": [], "roles": []}
        chat_id = (await ann.call("POST", "/web/chats", new, expect=201))["id"]
        body = {"content": "@@lawyer Что со сроком?"}
        stream = await Stream.open(port, f"/web/chats/{chat_id}/messages", ann.token, body=body, host=address)
        kinds = [event.kind async for event in stream.events()]
        stream.close()

        assert "run.completed" in kinds
        assert [pod.sent_outside for pod in (head, worker, api)] == [0, 0, 0]
        assert workers_on(head.machine) == []
        assert workers_on(api.machine) == []


def ports_of(machine: Machine) -> set[int]:
    return {each.port for each in listeners(Path(f"/proc/{machine.holder}/net"))}


def secrets(folder: Path, database_url: str, application_url: str) -> Path:
    """Write the secrets as they are mounted, and Ray's token beside them."""
    made = folder / "secrets"
    made.mkdir()
    for name, value in {
        "rugpt_database_url": application_url,
        "rugpt_database_owner_url": database_url,
        "rugpt_secret_key": SECRET,
    }.items():
        (made / name).write_text(value)
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    return made
