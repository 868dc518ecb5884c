"""The Dockerfiles, followed step by step without an engine (what is left out: see dockerfile.py)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfile import follow, instructions


def test_the_build_needs_nothing_but_what_is_copied(root: Path, tmp_path: Path) -> None:
    stage = follow(root / "deploy" / "docker" / "cpu.Dockerfile", root, tmp_path, until="build")
    [wheel] = (stage.folder / "wheels").iterdir()
    with zipfile.ZipFile(wheel) as found:
        files = found.namelist()
    assert {"layerzero/api.py", "layerzero/grammar/lzp.lark", "layerzero/policies/prelude.lzp"} <= set(files)
    assert [file for file in files if file.endswith(".so")] == [], "an extension came with the checkout"


def test_both_images_do_the_same_with_their_python(root: Path) -> None:
    cpu, cuda = (
        [(word, rest) for word, rest in instructions((root / "deploy" / "docker" / f"{name}.Dockerfile").read_text())]
        for name in ("cpu", "cuda")
    )
    own = [step for step in cuda if step not in cpu]
    assert [
        step for step in cpu if step not in cuda and "apt-get" not in step[1] and step[0] not in ("FROM", "ARG")
    ] == []
    assert {word for word, _ in own} <= {"ARG", "FROM", "ENV", "RUN"}
    assert [rest for word, rest in own if word == "RUN" and not rest.startswith(("apt-get", "python3 -m venv"))] == []


@pytest.mark.stress  # half a minute each: torch is imported in fresh processes
@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_image_serves_the_policy_of_the_example(name: str, root: Path, tmp_path: Path) -> None:
    image = follow(root / "deploy" / "docker" / f"{name}.Dockerfile", root, tmp_path / "image")
    assert image.user != "root"
    assert not (image.folder / "wheels").exists()
    assert list(image.folder.rglob("site-packages/layerzero/api.py")), "layerzero is not in the image"
    assert {step.split()[0] for step in image.left_out} <= {"apt-get", "rm", "useradd"}

    config, *_ = yaml.safe_load_all((root / "deploy" / "kubernetes" / "layerzero.yaml").read_text(encoding="utf-8"))
    policy = image.folder / "etc" / "layerzero" / "policy"
    policy.mkdir(parents=True)
    for file, text in config["data"].items():
        (policy / file).write_text(text, encoding="utf-8")
    words = [image.here(word) for word in (*image.entrypoint, *image.command)]
    done = image.run([*words, "--host", "127.0.0.1", "--port", "0", "--for", "0.2"])
    assert done.returncode == 0, done.stderr
    assert "in force: cluster version 1" in done.stdout
