"""The Kubernetes example: its parts fit together, its policy is right, a new version reaches the running process."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from layerzero.cli.entry import main

Manifests = list[dict[str, Any]]


def kind(manifests: Manifests, name: str) -> dict[str, Any]:
    [found] = [one for one in manifests if one["kind"] == name]
    return found


def pod(manifests: Manifests) -> dict[str, Any]:
    found: dict[str, Any] = kind(manifests, "Deployment")["spec"]["template"]["spec"]
    return found


def test_what_is_named_is_there(manifests: Manifests) -> None:
    deployment, service = kind(manifests, "Deployment")["spec"], kind(manifests, "Service")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    assert service["selector"].items() <= labels.items()
    volumes = {volume["name"] for volume in pod(manifests)["volumes"]}
    containers = [*pod(manifests)["initContainers"], *pod(manifests)["containers"]]
    assert {mount["name"] for container in containers for mount in container["volumeMounts"]} == volumes
    ports = {port["name"]: port["containerPort"] for one in pod(manifests)["containers"] for port in one["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= ports.keys()
    config = [volume["configMap"]["name"] for volume in pod(manifests)["volumes"] if "configMap" in volume]
    assert config == [kind(manifests, "ConfigMap")["metadata"]["name"]]
    [served] = pod(manifests)["containers"]
    assert served["args"][-1] == str(ports["metrics"])
    assert [mount for one in containers for mount in one["volumeMounts"] if "subPath" in mount] == []


def test_the_policy_of_the_config_map_is_right(manifests: Manifests, tmp_path: Path, capsys: Any) -> None:
    mounted = Mounted(tmp_path, kind(manifests, "ConfigMap")["data"])
    [check] = pod(manifests)["initContainers"]
    path = Path(check["command"][-1])
    assert check["command"][:2] == ["lz", "check"] and path.name == "policy.lzp"
    for command in (["check"], ["test"], ["fmt", "--check"]):
        assert main([*command, str(mounted.folder / path.name)]) == 0, capsys.readouterr().out


class Mounted:
    """A ConfigMap's folder as the kubelet lays it out: the files are links through `..data`, which is swapped."""

    def __init__(self, folder: Path, data: dict[str, str]) -> None:
        self.folder, self._number = folder, 0
        self.swap(data)
        for name in data:
            (folder / name).symlink_to(f"..data/{name}")

    def swap(self, data: dict[str, str]) -> None:
        self._number += 1
        new = self.folder / f"..2026_11_26_{self._number}"
        new.mkdir()
        for name, text in data.items():
            (new / name).write_text(text, encoding="utf-8")
        (self.folder / "..data_tmp").symlink_to(new.name)
        os.replace(self.folder / "..data_tmp", self.folder / "..data")


@pytest.mark.slow
def test_a_new_config_map_reaches_the_running_process(manifests: Manifests, root: Path, tmp_path: Path) -> None:
    data = kind(manifests, "ConfigMap")["data"]
    mounted = Mounted(tmp_path, data)
    command = [sys.executable, str(root / "deploy" / "serve.py"), str(tmp_path / "policy.lzp"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            where = process.stdout.readline().split()[-1]
            first = process.stdout.readline()
            assert first.startswith("in force: cluster version 1"), first + process.stderr.read()
            both = "deny torch.sdpa_math for attention as no_math\ndeny torch.sdpa_flash_cpu for attention as slow\n"
            mounted.swap({"policy.lzp": data["policy.lzp"].replace("version 1", "version 2"), "rules.lzp": both})
            assert process.stdout.readline().startswith("in force: cluster version 2")
            with urllib.request.urlopen(f"http://{where}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        finally:
            process.kill()
    assert 'layerzero_decisions_total{degraded="false",kernel="torch.sdpa_flash_cpu",operation="attention"}' in text
    assert 'policy="cluster",version="2"' in text
