"""A Dockerfile -> its steps, followed in a folder for each stage, without a Docker engine.

`FROM` is an environment of the running Python that sees what the tests have installed, so that no package is fetched;
COPY copies as .dockerignore says; RUN runs with the image's absolute paths inside the stage's folder. Not followed, and
listed in `left_out`: what the distribution's tools do (apt-get, useradd), USER, and the images themselves.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

NOT_HERE = ("apt-get", "useradd", "rm -rf /var/")


@dataclass
class Stage:
    """One `FROM`: `folder` stands for `/`."""

    name: str
    folder: Path
    workdir: str = "/"
    env: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    user: str = "root"
    left_out: list[str] = field(default_factory=list)

    def here(self, text: str) -> str:
        """Absolute paths of the image, in this folder: `/wheels/x` -> `.../stage/wheels/x`."""
        return re.sub(r"""(^|[\s"'=:(])/(?=\w)""", rf"\g<1>{self.folder}/", text)

    def at(self, path: str) -> Path:
        return self.folder / (Path(self.workdir) / path).relative_to("/")

    def environ(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        path = f"{self.folder}/usr/local/bin{os.pathsep}{inherited['PATH']}"
        # Nothing is fetched and nothing compiled: what is installed serves, and the wheel is the pure one.
        no_network = {
            "PIP_NO_INDEX": "1",
            "PIP_NO_COMPILE": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "CXX": "/no/such/compiler",
        }
        found = {**inherited, "PATH": path, **no_network}
        for name, value in self.env.items():
            found[name] = re.sub(r"\$(\w+)", lambda word: found.get(word[1], ""), self.here(value))
        return found

    def run(self, command: str | list[str]) -> subprocess.CompletedProcess[str]:
        where = self.at("")
        where.mkdir(parents=True, exist_ok=True)
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        return subprocess.run(words, cwd=where, env=self.environ(), capture_output=True, text=True, check=False)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """`("RUN", "python -m pip ...")`, comments out and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def follow(dockerfile: Path, context: Path, into: Path, until: str | None = None) -> Stage:
    """The last stage, or the one that is named, with everything before it done.

    Raises:
        AssertionError: A step failed, or names a file that is not there.
    """
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    ignored = [line for line in (context / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    for word, rest in instructions(dockerfile.read_text(encoding="utf-8")):
        stage = stages[-1] if stages else None
        if word == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value.strip('"')
        elif word == "FROM":
            if stage is not None and stage.name == until:
                return stage
            image, *alias = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], rest).split()
            assert ":" in image, f"an image without a version: {image}"
            stages.append(Stage(alias[-1] if alias else str(len(stages)), into / str(len(stages)), env={}))
            environment(stages[-1].folder / "usr" / "local")
        elif stage is None:
            raise AssertionError(f"{word} before FROM")
        elif word == "WORKDIR":
            stage.workdir = rest
        elif word == "ENV":
            name, _, value = rest.partition("=")
            stage.env[name] = value
        elif word == "COPY":
            copy(stage, stages, rest, context, ignored)
        elif word == "RUN":
            run(stage, rest, arguments)
        elif word == "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        elif word == "CMD":
            stage.command = json.loads(rest)
        elif word == "USER":
            stage.user = rest
        else:
            assert word == "EXPOSE", f"the follower does not know {word}"
    return stages[-1]


def environment(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    # A line with a path: what lies there is found, but the .pth files in it (an editable layerzero) are not read.
    (site / "installed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def copy(stage: Stage, stages: list[Stage], rest: str, context: Path, ignored: list[str]) -> None:
    words = rest.split()
    source = context
    if words[0].startswith("--from="):
        name = words.pop(0).removeprefix("--from=")
        [source] = [other.folder for other in stages if other.name == name]
    *names, target = words
    to = stage.at(target)
    for name in names:
        found = source / name.lstrip("/")
        assert found.exists(), f"COPY {rest}: no {name}"
        if found.is_dir():
            skipped = lambda _, inside: [one for one in inside if any(_matches(one, glob) for glob in ignored)]  # noqa: E731
            shutil.copytree(found, to, ignore=skipped, dirs_exist_ok=True)
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, to)


def _matches(name: str, glob: str) -> bool:
    return fnmatchcase(name, glob.removeprefix("**/"))


def run(stage: Stage, rest: str, arguments: dict[str, str]) -> None:
    steps = []
    for step in (one.strip() for one in rest.split("&&")):
        if step.startswith(NOT_HERE):
            stage.left_out.append(step)
        elif step.startswith("python3 -m venv "):
            environment(Path(stage.here(step.split()[-1])))
        else:
            steps.append(step)
    given = " ".join(f"{name}={shlex.quote(value)};" for name, value in arguments.items())
    done = stage.run(f"set -eu; {given} {stage.here(' && '.join(steps) or 'true')}")
    assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
