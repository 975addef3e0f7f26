"""The manifest of a cluster on Kubernetes and the image that it runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from t2i_shards.extractors.registry import EXTRACTORS
from t2i_shards.jobs.__main__ import parse
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.weights import WeightsFetch
from t2i_shards.pipeline.download.shard import Downloads
from t2i_shards.pipeline.engine.nodes import count_node_slots

REPOSITORY = Path(__file__).parents[3]
MANIFEST = REPOSITORY / "jobs" / "cluster" / "rayjob.yaml"
DOCKERFILE = MANIFEST.with_name("Dockerfile")
WEIGHTS = MANIFEST.with_name("weights.yaml")
SLURM = MANIFEST.with_name("slurm.sh")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(MANIFEST.read_text())
    return document


def test_the_manifest_runs_a_command_that_exists(manifest: dict[str, Any]) -> None:
    python, dash_m, module, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert (python, dash_m, module) == ("python", "-m", "t2i_shards")
    command = parse(arguments)
    assert isinstance(command, ExtractCommand)
    assert set(command.conditions) <= set(EXTRACTORS)
    assert command.engine.engine == "ray"
    assert "://" in command.root, "the pods share no disk"


def test_the_manifest_says_how_a_job_ends(manifest: dict[str, Any]) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    spec = manifest["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert 0 < spec["backoffLimit"] <= 3
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_manifest_can_have_an_autoscaler(manifest: dict[str, Any]) -> None:
    cluster = yaml.safe_load(MANIFEST.read_text().replace("#~ ", ""))["spec"]["rayClusterSpec"]
    options = {"enableInTreeAutoscaling": True, "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 120}}
    assert cluster == {**manifest["spec"]["rayClusterSpec"], **options}
    groups = cluster["workerGroupSpecs"]
    assert all(group["minReplicas"] <= group["replicas"] < group["maxReplicas"] for group in groups)


def test_the_manifest_can_have_a_head_that_is_replaced(manifest: dict[str, Any]) -> None:
    """The keys are those of KubeRay's RayJobSpec and GcsFaultToleranceOptions."""
    spec = yaml.safe_load(MANIFEST.read_text().replace("#+ ", ""))["spec"]
    assert spec.pop("entrypointNumCpus") == 1, "the driver must not be on the head, which has no core"
    redis = spec["rayClusterSpec"].pop("gcsFaultToleranceOptions")
    assert redis.keys() == {"redisAddress", "redisPassword"}
    assert redis["redisPassword"]["valueFrom"]["secretKeyRef"].keys() == {"name", "key"}
    assert spec == manifest["spec"]


def test_the_weights_can_be_fetched_once(manifest: dict[str, Any]) -> None:
    """Into a volume: the claim that is filled is the one that all pods which load networks read."""
    claim, job = yaml.safe_load_all(WEIGHTS.read_text())
    name, pod = claim["metadata"]["name"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    fetch = parse(container["command"][3:])
    assert isinstance(fetch, WeightsFetch)
    [volume] = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == name
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": str(fetch.to)}]
    usual = pods_of(manifest)["head"]
    assert pod["securityContext"] == usual["securityContext"]
    assert container["securityContext"] == usual["containers"][0]["securityContext"]
    assert container["image"] == usual["containers"][0]["image"]
    assert "envFrom" not in container, "it needs no secret"

    with_volume = yaml.safe_load(MANIFEST.read_text().replace("#= ", ""))
    for kind, pod in pods_of(with_volume).items():
        [container] = pod["containers"]
        mounts, volumes = container.pop("volumeMounts", None), pod.pop("volumes", None)
        if kind == "submitter":
            assert mounts is volumes is None
            continue
        assert [one["persistentVolumeClaim"] for one in volumes] == [{"claimName": name, "readOnly": True}]
        assert mounts == [{"name": volumes[0]["name"], "mountPath": str(fetch.to), "readOnly": True}]
    assert with_volume == manifest
    assert isinstance(
        parse([*shlex.split(manifest["spec"]["entrypoint"])[3:], "--weights", "/weights"]), ExtractCommand
    )


def test_the_weights_can_be_in_the_image() -> None:
    [line] = re.findall(r"^#= RUN python -m t2i_shards (.*) && rm -rf /root/.cache$", DOCKERFILE.read_text(), re.M)
    command = parse(shlex.split(line))
    assert isinstance(command, WeightsFetch)
    assert set(command.conditions) <= set(EXTRACTORS)


def test_the_slurm_script_runs_the_command_it_is_given(tmp_path: Path) -> None:
    """With stand-ins for Slurm's commands and Ray's, which say how they were called."""
    for name, body in {
        "scontrol": 'printf "%s\n" n7 n8 n9',
        "srun": 'printf "%s\n" "$RAY_AUTH_MODE" "$@"',
    }.items():
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\n{body}\n")
        command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "1234567"}
    environment |= {"SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_NODELIST": "n[7-9]"}
    words = ["extract", "/shared/my photos", "--conditions", "sketch"]
    done = subprocess.run(["bash", SLURM, *words], env=environment, capture_output=True, text=True, check=True)
    mode, *called = done.stdout.splitlines()
    assert mode == "token"
    ours = called.index("--")
    assert called[:ours] == ["ray", "symmetric-run", "--address", "n7:24567", "--min-nodes", "3"]
    assert called[ours + 1 :] == ["env", "RAY_ADDRESS=n7:24567", "python", "-m", "t2i_shards", *words]
    assert isinstance(parse(words), ExtractCommand)


def pods_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of each kind of pod."""
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"]["spec"] for group in cluster["workerGroupSpecs"]}
    submitter = manifest["spec"]["submitterPodTemplate"]["spec"]
    return {"head": cluster["headGroupSpec"]["template"]["spec"], "submitter": submitter, **groups}


def containers_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [container for pod in pods_of(manifest).values() for container in pod["containers"]]


def test_no_pod_can_do_more_than_it_must(manifest: dict[str, Any]) -> None:
    for pod in pods_of(manifest).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers_of(manifest):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_stores_secret_is_where_the_store_is_read(manifest: dict[str, Any]) -> None:
    """The driver runs on the head, and workers read and write shards; the submitter does neither."""
    holding = {
        name
        for name, pod in pods_of(manifest).items()
        if any("secretRef" in source for container in pod["containers"] for source in container.get("envFrom", []))
    }
    assert holding == {"head", "cpu", "gpu"}
    assert "secretKeyRef" not in str(manifest)


def test_the_image_has_a_digest_a_user_and_no_compiler(manifest: dict[str, Any]) -> None:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    (base,) = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    user = pods_of(manifest)["head"]["securityContext"]["runAsUser"]
    assert [line for line in lines if line.startswith("USER ")] == [f"USER {user}:{user}"]
    assert any(f"useradd --uid {user} " in line for line in lines)
    installed = " ".join(line for line in lines if "install" in line)
    assert not re.search(r"\b(gcc|g\+\+|clang|make|cargo|build-essential|\S+-dev)\b", installed)
    assert all("--only-binary :all:" in line or "--no-index" in line for line in lines if "pip install" in line)


def memory_of(container: Any) -> int:
    gibibytes: str = container["resources"]["limits"]["memory"]
    return int(gibibytes.removesuffix("Gi")) << 30


def test_the_manifest_has_a_head_without_work_and_two_groups(manifest: dict[str, Any]) -> None:
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for name, group in groups.items():
        (container,) = group["template"]["spec"]["containers"]
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert ("nvidia.com/gpu" in limits) == (name == "gpu")
        assert limits["memory"] == requests["memory"], "Ray takes the limit for what there is"
    (container,) = groups["cpu"]["template"]["spec"]["containers"]
    pod = {"CPU": int(container["resources"]["limits"]["cpu"]), "memory": memory_of(container)}
    assert count_node_slots(pod, Downloads().resources) == 2 * pod["CPU"], (
        "memory for a download on every half core"
    )
    images = {container["image"] for container in containers_of(manifest)}
    assert len(images) == 1, "one image, so that all have the same packages"
    assert f"ray=={cluster['rayVersion']} " in (REPOSITORY / "requirements.txt").read_text()
