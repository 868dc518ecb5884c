"""What counts as broken, and what is merely not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from layerzero.backends.machine import ThisMachine
from layerzero.check import Checked, load_text
from layerzero.check.expressions import Value
from layerzero.check.program import Program
from layerzero.cli import main
from layerzero.dispatch import availability, doctor
from layerzero.errors import UnknownNameError
from layerzero.syntax.source import Source

POLICY = """
field device: enum(cpu, cuda) = cpu
operation op { needs device  fallback ref.op }
kernel ref.op for op {}
"""
CATALOG = """
kernel good.x for op { package packaging >=1  adapter "json:dumps" }
kernel old.x for op { package packaging >=9999  adapter "json:dumps" }
kernel gone.x for op { package no-such-package >=2  adapter "no_such_package:call" }
kernel cuda.x for op { require device == cuda  adapter "json:dumps" }
"""
BROKEN = 'kernel broken.x for op { package packaging >=1  adapter "json:no_such_name" }\n'


def checked(catalog: str = CATALOG, policy: str = POLICY) -> Checked:
    return load_text(policy, prelude=False, catalogs=[Source("catalog.lzp", catalog)])


def program(catalog: str = CATALOG) -> Program:
    found = checked(catalog).program
    assert found is not None
    return found


def machine() -> ThisMachine:
    def devices() -> Sequence[Mapping[str, Value]]:
        return [{"device": "cpu"}]

    return ThisMachine(devices)


def examined(**options: str) -> doctor.Doctor:
    return doctor.examine(machine(), checked(**options), "p.lzp")


def test_what_is_not_there_is_no_problem() -> None:
    found = examined()
    assert found.healthy and found.findings == ()
    text = str(found)
    assert "0 of 1 kernels can be called; no-such-package >=2 is not installed" in text
    assert "is installed, wanted >=9999" in text
    assert "no GPU that torch can use" in text
    assert text.endswith("\nhealthy")


def test_what_is_there_and_does_not_work_is_one() -> None:
    found = examined(catalog=CATALOG + BROKEN)
    (problem,) = found.findings
    assert problem.area == "broken.*"
    assert problem.text == "broken.x: `json` has no `no_such_name`"
    assert str(found).endswith("\n1 problem, marked !!")
    assert not found.to_dict()["healthy"]


def test_a_policy_with_errors_is_one() -> None:
    (problem,) = examined(policy=POLICY + "deny nobody.x for op\n").findings
    assert problem.area == "policy"
    assert "LZ204" in problem.text


def test_torch_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_version", lambda name: "9.9")
    monkeypatch.setattr(doctor, "import_failure", lambda name: "ImportError: libtorch.so: bad magic")
    assert [item.text for item in examined().findings] == ["9.9 does not import: ImportError: libtorch.so: bad magic"]
    monkeypatch.setattr(doctor, "installed_version", lambda name: None)
    assert examined().healthy


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def note(where: str) -> str:
        monkeypatch.setenv("LAYERZERO_CACHE", where)
        (item,) = (item for item in examined().items if item.area == "cache")
        return f"{item.state}: {item.text}"

    assert note("off").startswith("note: off")
    assert note(str(tmp_path / "new" / "folder")).startswith("ok: ")
    (tmp_path / "file").write_text("")
    assert "is a file" in note(str(tmp_path / "file"))
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "may be written by others" in note(str(tmp_path / "open"))


def test_lz_doctor_and_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, catalog = tmp_path / "p.lzp", tmp_path / "c.lzp"
    policy.write_text(POLICY, encoding="utf-8")
    catalog.write_text(CATALOG, encoding="utf-8")
    arguments = ["doctor", str(policy), "--no-prelude", "--catalog", str(catalog)]
    assert main(arguments) == 0
    assert "healthy" in capsys.readouterr().out
    catalog.write_text(CATALOG + BROKEN, encoding="utf-8")
    assert main([*arguments, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [item["area"] for item in printed["items"] if item["state"] == "problem"] == ["broken.*"]


# ---------------------------------------------------------------- availability, without an import


def test_what_a_kernel_lacks() -> None:
    packages = {"packaging": "24.1"}
    found = {k.id: k.unavailable for k in availability.catalog(program(), None, packages, [{"device": "cpu"}])}
    assert found["good.x"] == ()
    assert found["old.x"] == ("packaging 24.1 is installed, wanted >=9999",)
    assert found["gone.x"] == (
        "no-such-package >=2 is not installed",
        "there is no package for its adapter `no_such_package:call`",
    )
    assert found["cuda.x"] == ("wants `device == cuda`, here: cpu",)
    assert found["ref.op"] == ("no adapter: its facts serve offline decisions",)


def test_one_fitting_device_is_enough() -> None:
    devices = [{"device": "cpu"}, {"device": "cuda"}]
    (kernel,) = availability.catalog(program(), "cuda.x", {}, devices)
    assert kernel.available


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("good", ["good.x"]),
        ("*.op", ["ref.op"]),
        ("op.*", None),
        ("op", None),
        (None, None),
        ("g*", ["gone.x", "good.x"]),
    ],
)
def test_patterns(pattern: str | None, wanted: list[str] | None) -> None:
    found = [kernel.id for kernel in availability.catalog(program(), pattern, {}, [])]
    assert found == (wanted or ["cuda.x", "gone.x", "good.x", "old.x", "ref.op"])


def test_an_unknown_pattern_says_what_may_be_meant() -> None:
    with pytest.raises(UnknownNameError, match="did you mean `good`"):
        availability.catalog(program(), "goood", {}, [])
