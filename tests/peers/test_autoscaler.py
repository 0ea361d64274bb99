"""KubeRay's autoscaler, which is Ray's own, over our RayCluster: an actor that wants a GPU gets a machine.

It is started as KubeRay starts it beside the head; the API of Kubernetes is played by this process.
"""

import asyncio
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.processes import ROOT
from ray_cluster.cluster import end_group
from tests.namespaces import network
from tests.peers.test_pods import HEAD, NO_DNS, RAY, TOKEN, Pod, manifest
from tests.process.engine import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

NAMESPACE = "rugpt"
# What asks for a machine: a worker of a pool whose role file asks for a GPU.
ASKING = f"""
import ray
from engine.roles import Pool, Resources
from ray_cluster.fleet import RayFleet
ray.init("{HEAD}:6379", namespace="test", log_to_driver=False, configure_logging=False)
RayFleet(b"", "", "new").start_now(Pool("vision", ("lawyer",), Resources(cpus=2, gpus=1)))
"""


@dataclass
class Kubernetes:
    """As much of Kubernetes as an autoscaler speaks with: one RayCluster and its pods."""

    cluster: dict[str, Any]
    head: str
    patched: list[tuple[str, Any]] = field(default_factory=list)

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_get(f"/api/v1/namespaces/{NAMESPACE}/pods", self._pods)
        one = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters/{self.cluster['metadata']['name']}"
        made.router.add_get(one, self._cluster)
        made.router.add_patch(one, self._patch)
        return made

    async def _pods(self, _: web.Request) -> web.Response:
        running: list[dict[str, Any]] = [{"state": {"running": {}}}]
        head = {"ray.io/node-type": "head", "ray.io/group": "headgroup"}
        worker = {"ray.io/node-type": "worker", "ray.io/group": "cpu"}
        pods = [
            {
                "metadata": {"name": name, "labels": labels},
                "status": {"podIP": ip, "containerStatuses": running},
            }
            for name, labels, ip in (("head", head, self.head), ("cpu-1", worker, "10.9.9.9"))
        ]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": pods})

    async def _cluster(self, _: web.Request) -> web.Response:
        return web.json_response(self.cluster)

    async def _patch(self, request: web.Request) -> web.Response:
        self.patched += [(each["path"], each["value"]) for each in json.loads(await request.read())]
        return web.json_response(self.cluster)


@asynccontextmanager
async def kubernetes(
    address: str, head: str, folder: Path
) -> AsyncIterator[tuple[Kubernetes, dict[str, str]]]:
    """Play Kubernetes at an address; give it, and the variables by which pods find it."""
    (cluster,) = manifest("raycluster.yaml", "RayCluster")
    cluster["metadata"]["namespace"] = NAMESPACE
    played = Kubernetes(cluster, head)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate, key = certify(address, folder)
    context.load_cert_chain(certificate, key)
    runner = web.AppRunner(played.application())
    await runner.setup()
    try:
        await web.TCPSite(runner, address, 0, ssl_context=context).start()
        yield (
            played,
            {
                "KUBERNETES_SERVICE_HOST": address,
                "KUBERNETES_SERVICE_PORT_HTTPS": str(runner.addresses[0][1]),
                "RAY_KUBERAY_CA_CERT_PATH": str(certificate),
                "RAY_KUBERAY_CLIENT_CERT_PATH": str(certificate),
                "RAY_KUBERAY_CLIENT_KEY_PATH": str(key),
            },
        )
    finally:
        await runner.cleanup()


def certify(address: str, folder: Path) -> tuple[Path, Path]:
    """Make a certificate for an address, which vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "api.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "api.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "api.pem", folder / "api.key"


@contextmanager
def autoscaler(pod: Pod, folder: Path, variables: dict[str, str]) -> Iterator[Path]:
    """Run the container that KubeRay puts beside the head; give the file of what it says."""
    (folder / "bin").mkdir()
    ray = folder / "bin" / "ray"  # It looks after the head by this name.
    ray.write_text(f'#!/bin/sh\nexec {" ".join(RAY)} "$@"\n')
    ray.chmod(0o755)
    name = manifest("raycluster.yaml", "RayCluster")[0]["metadata"]["name"]
    log = folder / "autoscaler.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(*pod.within, "ray", "kuberay-autoscaler"),
                *("--cluster-name", name, "--cluster-namespace", NAMESPACE),
                *("--gcs-address", f"{HEAD}:6379"),
            ],
            env={
                **os.environ,
                **NO_DNS,
                **variables,
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": TOKEN,
                "KUBERAY_CRD_VER": "v1",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        end_group(process)


async def test_an_actor_that_wants_a_gpu_makes_the_group_for_gpus_grow() -> None:
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        net = running.enter_context(network(1))
        (machine,) = net.machines
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{machine.address} {HEAD}\n")
        pod = Pod(machine, folder / "hosts")
        running.enter_context(
            pod.sharing_processes()
        )  # Whoever asks for a machine is in the head's container.
        played, variables = await running.enter_async_context(kubernetes(net.host, machine.address, folder))
        parameters = played.cluster["spec"]["headGroupSpec"]["rayStartParams"]
        running.enter_context(pod.ray(parameters, "--head", f"--temp-dir={folder}/r", "--no-monitor"))
        log = running.enter_context(autoscaler(pod, folder, variables))
        await eventually(lambda: "starting the autoscaler" in log.read_text().lower(), seconds=60)

        asking = await asyncio.create_subprocess_exec(
            *(*pod.within, sys.executable, "-c", ASKING),
            cwd=ROOT,
            env={**os.environ, **NO_DNS, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
        )
        assert await asyncio.wait_for(asking.wait(), 60) == 0
        await eventually(
            lambda: bool(played.patched), seconds=60, what=f"a machine: {log.read_text()[-3000:]}"
        )

    (gpu,) = (
        n for n, each in enumerate(played.cluster["spec"]["workerGroupSpecs"]) if each["groupName"] == "gpu"
    )
    assert played.patched[0] == (f"/spec/workerGroupSpecs/{gpu}/replicas", 1)
