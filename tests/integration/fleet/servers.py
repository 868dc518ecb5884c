"""Real servers on loopback, each with a free port and a folder of its own; they can be stopped and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

KINDS = ("file", "http", "redis", "etcd")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str = "it") -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within 30 s"
        time.sleep(0.01)


class Place:
    """Where releases can be: `url` is the address of one, `at` of others."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.kind = kind
        self.url = self.at("p")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def at(self, name: str) -> str:
        return {
            "file": f"file://{self.folder}/{name}.lzb",
            "http": f"http://127.0.0.1:{self.port}/{name}",
            "redis": f"redis://127.0.0.1:{self.port}/0/{name}",
            "etcd": f"etcd://127.0.0.1:{self.port}/fleet/{name}",
        }[self.kind]

    def start(self) -> None:
        match self.kind:
            case "http":
                serve = ["-m", "layerzero", "fleet", "serve", str(self.folder), "--port", str(self.port)]
                self._run([sys.executable, *serve])
                wait_until(self._listens, "lz fleet serve")
            case "redis":
                self._run(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--appendonly", "yes"])
                wait_until(self._listens, "redis-server")
            case "etcd":
                here, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{free_port()}"
                listen = ["--listen-client-urls", here, "--advertise-client-urls", here, "--listen-peer-urls", peer]
                peers = ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
                self._run(["etcd", "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync", *listen, *peers])
                wait_until(self._is_healthy, "etcd")

    def _run(self, command: list[str]) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health").json() == {"health": "true"}
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._process = None


def place(kind: str, folder: Path) -> Place:
    program = {"redis": "redis-server", "etcd": "etcd"}.get(kind)
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (.ci/debian-packages)")
    return Place(kind, folder)
