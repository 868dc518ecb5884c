"""A record and the exported snapshot rebuild the proof; nothing that does not fit is believed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layerzero.check.digest import canonical_json
from layerzero.runtime import ambient
from layerzero.runtime.building import Material
from layerzero.runtime.export import ExportError, SnapshotStore, manifest_of
from layerzero.runtime.log_files import beside
from layerzero.runtime.replay import ReplayError, rebuild
from layerzero.runtime.rules import RuntimeRules
from layerzero.syntax.source import Source
from tests.unit.runtime.log_bench import WORDS, Logged, lines

POLICY = """
field odd: float
field wheel: version
deny fast.one for work when size > 5 because "large"
boost fast.two by 1e308 for work when wheel >= "2.10"
boost fast.two by 1e308 for work when wheel >= "2.10" and size > 20
experiment half on tenant { arm control 50% arm other 50% { boost fast.two by 3 } }
"""


def recorded(tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records of one bench's calls, and the whole explanations that its decisions gave at the time."""
    bench = Logged(POLICY)
    explained: list[dict[str, Any]] = []
    bench.dispatcher.add_sink(lambda call: explained.append(call.decision.explain().to_dict()))
    with bench.log(tmp_path / "d.jsonl"):
        for tenant in ("a", "b", "c", "d"):
            with ambient.context({"tenant": tenant, "odd": float("inf"), "wheel": "2.9"}):
                bench.call(1)
                bench.call(6)
        with ambient.context({"odd": float("nan"), "wheel": "2.10.0"}):
            bench.call(30)  # a score past the doubles
        bench.configure(POLICY + "quarantine spare.one for work when size > 3")
        RuntimeRules(bench.engine).lock("work", "fast.two")
        bench.call(2)

        def broken(size: int) -> str:
            raise ValueError("no")

        bench.kernel("fast.two", broken)
        with pytest.raises(ValueError, match="no"):
            bench.call(2)  # nothing but the lock's kernel
        RuntimeRules(bench.engine).disabled("fast.one")
        bench.configure("")
        bench.kernel("fast.one", broken)
        assert bench.dispatcher.engine.status().runtime_rules
    return lines(tmp_path / "d.jsonl"), explained


def test_proofs_are_rebuilt_from_record_and_export_alone(tmp_path: Path) -> None:
    records, explained = recorded(tmp_path)
    store = SnapshotStore(beside(tmp_path / "d.jsonl"))
    assert len(records) == len(explained) == 11
    assert len({record["snapshot"] for record in records}) == 2
    for record, original in zip(records, explained, strict=True):
        decision = rebuild(record, store)
        assert json.dumps(decision.explain().to_dict()) == json.dumps(original)  # NaN is no equal of itself
        assert decision.epoch == record["epoch"]
    assert "large" in str(rebuild(records[1], store).explain())
    assert records[8]["score"] == "Infinity"


def test_the_proof_is_the_same_in_another_process(tmp_path: Path, root: Path) -> None:
    records, explained = recorded(tmp_path)
    script = (
        "import json, sys\nfrom layerzero.runtime.replay import SnapshotStore, rebuild\n"
        "store = SnapshotStore(sys.argv[1] + '.snapshots')\n"
        "print(json.dumps([rebuild(json.loads(line), store).explain().to_dict() for line in open(sys.argv[1])]))"
    )
    asked = [sys.executable, "-c", script, str(tmp_path / "d.jsonl")]
    done = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == json.dumps(explained)
    assert len(records) == len(explained)


def test_a_call_that_went_on_after_a_failure_is_rebuilt(tmp_path: Path) -> None:
    bench = Logged()

    def broken(size: int) -> str:
        raise ValueError("no")

    bench.kernel("fast.one", broken)
    with bench.log(tmp_path / "d.jsonl"):
        assert bench.call(1) == "fast.two"
    failed, went_on = lines(tmp_path / "d.jsonl")
    store = SnapshotStore(beside(tmp_path / "d.jsonl"))
    decision = rebuild(went_on, store)
    assert (decision.kernel, decision.recovered_from, decision.degraded) == ("fast.two", ("fast.one",), True)
    assert decision.proof.rejected["fast.one"][0].kind == "breaker"
    assert rebuild(failed, store).kernel == "fast.one"
    assert failed["snapshot"] != went_on["snapshot"]


def test_registered_kernels_and_imports_are_exported(tmp_path: Path) -> None:
    (tmp_path / "common.lzp").write_text("deny spare.one for work when size > 1")
    (tmp_path / "root.lzp").write_text('policy "root" version 3 standalone\nimport "common.lzp"\n')
    bench = Logged()
    source = Source("<kernel mine>", "kernel mine.one for work { priority 99 }")
    bench.machine.registered["mine.one"] = lambda size: "mine.one"
    material = Material(
        path=tmp_path / "root.lzp", catalogs=(Source("words.lzp", WORDS), source), registered=frozenset(["mine.one"])
    )
    loaded = bench.engine.builder.load(material)
    bench.engine.change(lambda inputs: replace(inputs, loaded=loaded))
    with bench.log(tmp_path / "d.jsonl"):
        assert bench.call(1) == "mine.one"
    for path in tmp_path.glob("*.lzp"):
        path.unlink()
    [record] = lines(tmp_path / "d.jsonl")
    decision = rebuild(record, SnapshotStore(beside(tmp_path / "d.jsonl")))
    assert decision.kernel == "mine.one"
    assert (decision.policy.name, decision.policy.version) == ("root", "3")
    assert str(tmp_path / "common.lzp") in {text.source.name for text in decision.snapshot.texts}


# ---------------------------------------------------------------- the store


def test_every_file_is_named_by_the_digest_of_its_content(tmp_path: Path) -> None:
    bench = Logged(POLICY)
    snapshot = bench.engine.current()
    store = SnapshotStore(tmp_path)
    store.put(manifest_of(snapshot), snapshot.program)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2 + 1 + 1
    assert [path for path in files if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem] == []
    program = tmp_path / "programs" / f"{snapshot.identity.digest}.json"
    assert program.read_text(encoding="utf-8") == canonical_json(snapshot.program)


def stored(tmp_path: Path) -> tuple[dict[str, Any], SnapshotStore]:
    bench = Logged(POLICY)
    with bench.log(tmp_path / "d.jsonl"):
        bench.call(1)
    return lines(tmp_path / "d.jsonl")[0], SnapshotStore(beside(tmp_path / "d.jsonl"))


def test_a_missing_or_damaged_export_is_refused(tmp_path: Path) -> None:
    record, store = stored(tmp_path)
    copy = SnapshotStore(tmp_path / "copy")
    shutil.copytree(store.folder, copy.folder)
    [policy] = [path for path in (copy.folder / "texts").iterdir() if "large" in path.read_text()]
    policy.write_text(policy.read_text().replace("size > 5", "size > 0"))
    with pytest.raises(ExportError, match="damaged"):
        rebuild(record, copy)
    policy.unlink()
    with pytest.raises(ExportError, match="no such file"):
        rebuild(record, copy)


@pytest.mark.parametrize("digest", ["../../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64])
def test_a_digest_leads_nowhere_else(tmp_path: Path, digest: str) -> None:
    record, store = stored(tmp_path)
    with pytest.raises(ExportError):
        rebuild({**record, "snapshot": digest}, store)
    assert digest not in store


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "fast.two"}, "the record tells of 'fast.two'"),
        ({"score": 1.0}, "its snapshot decides"),
        ({"values": {"size": 7}}, "its snapshot decides"),
        ({"values": {"size": "seven"}}, "does not fit the snapshot"),
        ({"values": {"size": 1, "tenants": "x"}}, "no field `tenants`"),
        ({"operation": "play"}, "unknown operation"),
        ({"schema": "lz.record/2"}, "schema"),
        ({"degraded": "no"}, "`degraded` is not a bool"),
        ({"count": 0}, "`count`"),
    ],
)
def test_a_record_that_does_not_fit_its_snapshot_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    record, store = stored(tmp_path)
    with pytest.raises(ReplayError, match=message):
        rebuild({**record, **change}, store)
