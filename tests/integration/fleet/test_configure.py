"""`lz.configure` with the address of a source, and the commands of an operator beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import layerzero as lz
from layerzero import api
from layerzero.cli import main
from layerzero.fleet.joining import join
from layerzero.fleet.source import open_source
from layerzero.fleet.status import FleetStatus, NodeReport
from layerzero.runtime.engine import Engine
from tests.integration.fleet.servers import wait_until
from tests.integration.fleet.test_follower import NoMachine
from tests.unit.fleet.made import text


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    """A folder with keys, where everything is kept in the folder too. The policies have words of their own, and could
    not be read with kernels that other tests of this process registered."""
    lz.configure(None)
    material = api._engine._started().loaded.material
    api._engine.change_material(lambda now: replace(now, catalogs=(), runtime=(), registered=frozenset()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert main(["bundle", "keygen", "ops"]) == 0
    yield tmp_path
    lz.configure(None)
    api._engine.change_material(lambda now: material.of_policy(now))


def publish(folder: Path, version: int, *sign: str) -> None:
    (folder / "p.lzp").write_text(text(version), encoding="utf-8")
    file, url = str(folder / "p-new.lzb"), f"file://{folder}/p.lzb"
    assert main(["bundle", "build", "p.lzp", "--to", file]) == 0
    assert main(["bundle", "sign", file, "--key", "ops.key", *sign]) == 0
    assert main(["bundle", "push", file, url, "--trust", "ops.pub"]) == 0


def test_configure_follows_a_source_until_another_policy(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(shop, 1)
    url = f"file://{shop}/p.lzb"
    found = lz.configure(url, watch=True, trust="ops.pub", node="node-1", interval=0.05)
    assert (found.name, found.version) == ("p", "1")
    watching = lz.status().watching
    assert isinstance(watching, FleetStatus)
    assert (watching.path, watching.node, watching.state) == (url, "node-1", "current")
    publish(shop, 2)
    wait_until(lambda: lz.status().version == "2", "version 2")

    with closing(open_source(url)) as source:
        wait_until(lambda: any(b'"version": 2' in one for one in source.reports()), "the report")
    capsys.readouterr()
    assert main(["fleet", "status", url]) == 0
    assert "1 node: 1 run p 2 (" in capsys.readouterr().out
    assert main(["fleet", "status", url, "--json"]) == 0
    (node,) = json.loads(capsys.readouterr().out)["nodes"]
    assert node["node"] == "node-1" and node["policy"] == lz.status().digest and node["silent"] is False

    lz.configure(None)
    assert lz.status().watching is None
    publish(shop, 3)
    assert lz.status().version is None


def test_without_watch_it_is_asked_once(shop: Path) -> None:
    publish(shop, 1)
    assert lz.configure(f"file://{shop}/p.lzb", trust="ops.pub").version == "1"
    assert lz.status().watching is None
    assert not (shop / "p.lzb.nodes").exists()
    assert os.listdir(shop / "state" / "layerzero" / "last-good") != []


def test_wrong_arguments_change_nothing(shop: Path) -> None:
    publish(shop, 1)
    url = f"file://{shop}/p.lzb"
    before = lz.status().digest
    for arguments, why in (
        ({}, "wants argument `trust`"),
        ({"trust": "ops.key"}, "no public key"),
        ({"trust": "ops.pub", "node": "a/b"}, "argument `node`"),
        ({"trust": "ops.pub", "interval": 0}, "argument `interval`"),
    ):
        with pytest.raises(lz.ArgumentError, match=why):
            lz.configure(url, watch=True, **arguments)  # type: ignore[arg-type]
    with pytest.raises(lz.ArgumentError, match="no source of policies"):
        lz.configure("ftp://host/p", trust="ops.pub")
    with pytest.raises(lz.ArgumentError, match="the address of a source"):
        lz.configure("p.lzp", trust="ops.pub")
    main(["bundle", "keygen", "other"])
    with pytest.raises(lz.PolicyError, match="by no trusted key"):
        lz.configure(url, watch=True, trust="other.pub")
    assert lz.status().digest == before and lz.status().watching is None


def test_a_held_roll_out_is_shown_and_resumed(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(shop, 1)
    publish(shop, 2, "--share", "99")
    url = f"file://{shop}/p.lzb"
    engine = Engine(NoMachine())
    follower = join(engine, url, "ops.pub", "node-1", False)
    assert follower.first().version == "2"
    from layerzero.fleet.source import Hold

    candidate = follower.status().candidate
    with closing(open_source(url)) as source:
        source.hold(candidate, Hold("node-7", "the breaker of `k.a on cuda` opened\x1b[2J"))
    assert join(engine, url, "ops.pub", "node-2", False).first().version == "1"
    capsys.readouterr()
    assert main(["fleet", "resume", url]) == 0
    said = capsys.readouterr().out
    assert "goes on; it was held by node-7: the breaker of `k.a on cuda` opened" in said and "\x1b" not in said
    assert main(["fleet", "resume", url]) == 1
    engine.close()


def test_reports_that_anybody_may_have_written_are_shown_as_text(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(shop, 1)
    url = f"file://{shop}/p.lzb"
    report = {
        "schema": "lz.node/1",
        "node": "evil\x1b[2J\n",
        "at": "yesterday",
        "state": "current",
        "active": {"name": "p", "version": 1, "digest": "d" * 64, "share": 100},
        "candidate": None,
        "held": None,
        "diagnostics": [{"code": "LZ204", "message": "\u202egnorw", "at": "p.lzp:1:1"}],
        "open_breakers": {},
    }
    with closing(open_source(url)) as source:
        source.report("evil", json.dumps(report).encode())
        source.report("nonsense", b'{"schema": "lz.node/1", "active": 7}')
    capsys.readouterr()
    assert main(["fleet", "status", url]) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown and "silent since yesterday" in shown
    assert "1 report cannot be read" in shown and "p.lzp:1:1: [LZ204]" in shown
    assert NodeReport.from_bytes(b"[" * 50_000) is None


def test_a_catalog_of_a_bundle_has_facts_and_no_code(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "p.lzp").write_text('policy "p" version 1\nboost acme.fast by 2 for rms_norm\n', encoding="utf-8")
    kernel = "kernel acme.fast for rms_norm { require dtype == fp16 %s }\n"
    build = ["bundle", "build", "p.lzp", "--catalog", "acme.lzp", "--to", "p-1.lzb"]
    (shop / "acme.lzp").write_text(kernel % "", encoding="utf-8")
    assert main(build) == 0
    (shop / "acme.lzp").write_text(kernel % 'adapter "os:system"', encoding="utf-8")
    capsys.readouterr()
    assert main(build) == 1
    assert "LZ006" in capsys.readouterr().err


AFTER_FORK = """
import os, sys, time
from layerzero.fleet.joining import join
from layerzero.runtime.engine import Engine
from tests.integration.fleet.test_follower import NoMachine, put
from tests.unit.fleet.made import signed
url = sys.argv[1]
put(url, signed(1))
engine = Engine(NoMachine())
from layerzero.fleet.follower import Follower, Options
from tests.unit.fleet.made import trusting
follower = Follower(engine, url, lambda: trusting("ops"), Options("n", 0.05, poll=0.2))
follower.first(); follower.start()
child = os.fork()
if child == 0:
    until = time.monotonic() + 20
    while engine.current().identity.version != "2" and time.monotonic() < until:
        time.sleep(0.02)
    os._exit(0 if engine.current().identity.version == "2" else 1)
time.sleep(0.2)
put(url, signed(2))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_follows_too(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", AFTER_FORK, f"file://{tmp_path}/p.lzb"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", done.stderr
