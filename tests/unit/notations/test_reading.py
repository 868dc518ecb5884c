"""Where YAML may stand for `.lzp`: load, configure, import; and what happens without the packages that read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import layerzero as lz
from layerzero import notations
from layerzero.backends.machine import ThisMachine
from layerzero.check import find_roots, load
from layerzero.runtime.engine import Engine

DENY = 'denies:\n  - operation: "attention.*"\n    backend: "torch.sdpa_math"\n    name: no_math\n'
CALL = {"operation": "attention", "device": "cpu", "dtype": "fp32", "batch": 1, "q_len": 4, "kv_len": 4}
CALL |= {"q_heads": 2, "kv_heads": 2, "head_dim": 8}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "policy.yaml"
    made.write_text(DENY, encoding="utf-8")
    return made


def reasons(policy: lz.Policy) -> list[str]:
    return [reason.kind for reason in policy.decide(CALL).proof.rejected.get("torch.sdpa_math", ())]


def test_load_and_from_text(path: Path) -> None:
    assert reasons(lz.Policy.load(path)) == ["denied"]
    assert reasons(lz.Policy.from_text(DENY, name="x.yml")) == ["denied"]


def test_an_engine_takes_it_and_run_time_rules_stand_on_it(path: Path) -> None:
    engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]))
    configured = engine.configure(path)
    assert configured.program.rules[-1].name == "no_math"
    assert str(path) in engine.status().files
    path.write_text(DENY.replace("denies", "deny"), encoding="utf-8")
    with pytest.raises(lz.PolicyError, match="did you mean `denies`"):
        engine.configure(path)
    assert engine.current().identity.digest == configured.digest


def test_a_policy_imports_it_and_its_fields_count(path: Path, tmp_path: Path) -> None:
    path.write_text('denies:\n  - operation: "*"\n    backend: "*"\n    condition: {tier: gold}\n', encoding="utf-8")
    root = tmp_path / "root.lzp"
    root.write_text('policy "root"\nfield tier: enum(gold, plain)\nimport "policy.yaml"\n', encoding="utf-8")
    checked = load(root)
    assert checked.diagnostics == () and checked.program is not None
    assert str(checked.program.rules[-1].span).endswith("policy.yaml:2:5")


def test_a_name_makes_it_a_root(path: Path) -> None:
    path.write_text("name: serving\n" + DENY, encoding="utf-8")
    assert [root.files for root in find_roots(path)] == [(path,)]
    assert lz.Policy.load(path).name == "serving"


def test_without_the_packages_the_finding_names_the_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notations, "find_spec", lambda name: None)
    with pytest.raises(lz.PolicyError, match=r'LZ008.*\n.*\n[^§]*pip install "layerzero\[live\]"'):
        lz.Policy.load(path)


def test_lzp_alone_loads_no_yaml_library(root: Path) -> None:
    script = (
        "import sys; sys.modules['yaml'] = None; sys.modules['pydantic'] = None\n"
        "import layerzero as lz; print(lz.Policy.from_text('deny torch.* for rope').digest)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
