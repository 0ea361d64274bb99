"""The manifests of deploy/kubernetes: well formed, closed by default, and in step with the engine."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from engine.cli import commands
from engine.core.settings import Settings
from ray_cluster.cluster import MACHINE_PORTS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
RAYCLUSTER = Path(__file__).parent / "raycluster.schema.json"
USER = 10001  # of deploy/Dockerfile
OURS = {"app.kubernetes.io/part-of": "rugpt"}


def documents() -> list[dict[str, Any]]:
    """Return every object that the manifests describe, with the templates of secrets."""
    return [
        document
        for path in sorted(FOLDER.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in documents() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def templates() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pod templates: the API's, and those of Ray."""
    yield "api", one("Deployment", "rugpt")["spec"]["template"]
    cluster = one("RayCluster", "rugpt-ray")["spec"]
    yield "head", cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


@pytest.mark.parametrize(
    "document", documents(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_an_object_is_what_its_schema_allows(document: dict[str, Any]) -> None:
    if document["kind"] == "RayCluster":
        jsonschema.validate(document, json.loads(RAYCLUSTER.read_text("utf-8")))
    else:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["api", "head", "cpu", "gpu"])
def test_a_pod_is_one_that_kubernetes_takes_and_that_may_do_little(name: str) -> None:
    template = dict(templates())[name]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    spec = template["spec"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == USER
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in spec["volumes"]}
    assert template["metadata"]["labels"].items() >= OURS.items()


def test_every_part_of_the_cluster_finds_its_token_where_the_engine_says_it_is() -> None:
    token = Path(one("ConfigMap", "rugpt")["data"]["RUGPT_RAY_TOKEN_FILE"])
    cluster = one("RayCluster", "rugpt-ray")

    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert token.name == "auth_token"  # KubeRay's word
    for name, template in templates():
        (volume,) = [each for each in template["spec"]["volumes"] if each["name"] == "ray-token"]
        assert volume["secret"] == {"secretName": cluster["metadata"]["name"], "defaultMode": 0o440}
        holders = [each["name"] for each in template["spec"]["containers"] if each["name"] != "nginx"]
        mounts = [
            (container["name"], mount["mountPath"], mount["readOnly"])
            for container in template["spec"]["containers"]
            for mount in container["volumeMounts"]
            if mount["name"] == "ray-token"
        ]
        assert mounts == [(holder, str(token.parent), True) for holder in holders], name


def test_what_is_set_are_settings_and_what_is_run_are_commands() -> None:
    containers = one("Deployment", "rugpt")["spec"]["template"]["spec"]["containers"]
    said = set(one("ConfigMap", "rugpt")["data"]) | {
        each["name"] for container in containers for each in container.get("env", ())
    }
    secret = one("Secret", "rugpt")["stringData"]

    assert {name.removeprefix("RUGPT_").lower() for name in said} <= Settings.model_fields.keys()
    assert {name.removeprefix("rugpt_") for name in secret} <= Settings.model_fields.keys()
    assert "rugpt_secret_key" in secret  # The replicas believe each other's sessions.
    for arguments in (each["args"] for each in containers if "args" in each):
        assert CliRunner().invoke(commands.app, [*arguments, "--help"]).exit_code == 0, arguments


def test_the_cluster_runs_the_ray_of_this_release_by_options_that_it_has() -> None:
    spec = one("RayCluster", "rugpt-ray")["spec"]
    (version,) = re.findall(r"^ray==([\d.]+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    options = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert spec["rayVersion"] == version
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        for name, value in group["rayStartParams"].items():
            assert re.search(rf"--{name}\b", options), name
            assert not name.endswith("manager-port") or f"--{name}={value}" in MACHINE_PORTS
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert [group["groupName"] for group in spec["workerGroupSpecs"]] == ["cpu", "gpu"]
    assert all(group["minReplicas"] <= group["maxReplicas"] for group in spec["workerGroupSpecs"])


def test_rays_autoscaler_reads_what_each_group_offers_and_how_far_it_may_grow() -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config

    cluster = one("RayCluster", "rugpt-ray")
    cluster["metadata"]["namespace"] = "rugpt"

    read = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)

    groups = {
        name: (
            each["min_workers"],
            each["max_workers"],
            each["resources"].get("CPU"),
            each["resources"].get("GPU"),
        )
        for name, each in read["available_node_types"].items()
    }
    assert groups == {"headgroup": (0, 0, 0, None), "cpu": (1, 8, 2, None), "gpu": (0, 4, 4, 1)}
    assert read["idle_timeout_minutes"] == 5


def test_nobody_comes_in_but_the_vpn_to_nginx() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"] for each in documents() if each["kind"] == "NetworkPolicy"
    }
    service = one("Service", "rugpt")["spec"]
    nginx = next(
        each for each in one("Deployment", "rugpt")["spec"]["template"]["spec"]["containers"]
        if each["name"] == "nginx"
    )  # fmt: skip

    assert policies.pop("closed") == {"podSelector": {}, "policyTypes": ["Ingress"]}
    (edge,) = policies.pop("edge")["ingress"]
    assert edge["ports"] == [{"protocol": "TCP", "port": 443}]
    assert [list(source) for source in edge["from"]] == [["ipBlock"]]
    (ray,) = policies.pop("ray")["ingress"]
    assert ray["from"] == [{"podSelector": {"matchLabels": OURS}}]
    assert policies == {}
    assert [port["port"] for port in service["ports"]] == [443]
    assert [port["containerPort"] for port in nginx["ports"]] == [443]


def test_applying_the_folder_applies_all_but_the_template_of_secrets() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secrets.example.yaml"}
    images = {
        container["image"] for _, template in templates() for container in template["spec"]["containers"]
    }

    assert set(kustomization["resources"]) == there
    ours = {image for image in images if "/" not in image}
    assert ours == {each["name"] for each in kustomization["images"]}
