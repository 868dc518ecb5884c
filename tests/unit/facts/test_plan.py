"""Which calls are planned from a kernel's facts, and which edges stay uncrossed and why."""

from __future__ import annotations

import functools

from layerzero.check import load_text, require
from layerzero.check.program import Program
from layerzero.facts.plan import Plan, Probe, plan
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

CATALOG = """
kernel t.rows for rms_norm {
  require device == cpu
  require dtype in {fp32, bf16}
  require hidden_size <= 256 and hidden_size % 8 == 0
  require sm >= 80 when dtype == fp64
  supports weight, deterministic
  supports residual when rows > 3
}
kernel t.attention for attention.decode {
  require dtype == bf16
  require q_len * (q_heads // kv_heads) <= 8
  require head_dim <= 64 when softcap > 0
  supports causal, gqa, softcap
}
kernel t.gpu for silu { require device == cuda }
kernel t.versions for silu { require package("torch") >= "2.0"  package torch >=2 }
"""


@functools.cache
def program() -> Program:
    return require(load_text("", catalogs=[Source("t.lzp", CATALOG)]))


def planned(kernel: str) -> Plan:
    environment = Environment(packages={"torch": "2.13.0"}, call_kernels=False)
    return plan(program(), [program().kernels[kernel]], {"device": "cpu"}, environment)


def changed(probes: tuple[Probe, ...], name: str, accepted: bool) -> set[object]:
    return {probe.given.get(name) for probe in probes if probe.moved == (name,) and (probe.reasons == ()) is accepted}


def test_both_sides_of_every_edge_are_called() -> None:
    probes = planned("t.rows").probes
    assert {8, 256} <= changed(probes, "hidden_size", accepted=True)
    assert {12, 257, 264} <= changed(probes, "hidden_size", accepted=False)
    assert changed(probes, "dtype", accepted=True) >= {"bf16"}
    assert changed(probes, "dtype", accepted=False) >= {"fp16"}


def test_a_feature_is_called_where_it_is_supported_and_where_not() -> None:
    probes = planned("t.rows").probes
    assert changed(probes, "has_residual", accepted=True) == {True}
    assert changed(probes, "contiguous", accepted=False) == {False}
    assert changed(probes, "requires_grad", accepted=False) == {True}


def test_the_first_call_is_one_that_the_facts_accept() -> None:
    first = planned("t.attention").probes[0]
    assert first.rank == 0
    assert first.reasons == ()
    assert first.given["dtype"] == "bf16"
    assert first.given["q_len"] == 1


def test_several_fields_move_together_where_one_alone_crosses_nothing() -> None:
    probes = planned("t.attention").probes
    text = "q_len * (q_heads // kv_heads) <= 8"
    assert any([reason for _, reason in probe.reasons] == [text] for probe in probes)
    softcap = [probe for probe in probes if [text for _, text in probe.reasons] == ["head_dim <= 64"]]
    assert softcap
    assert all(probe.given["softcap"] and probe.given["head_dim"] > 64 for probe in softcap)


def test_the_best_come_first_and_every_run_plans_the_same() -> None:
    ranks = [probe.rank for probe in planned("t.rows").probes]
    assert ranks == sorted(ranks)
    assert planned("t.rows") == planned("t.rows")


def test_what_this_machine_cannot_change_is_said() -> None:
    uncrossed = {edge.text: edge.uncrossed for edge in planned("t.rows").edges}
    assert uncrossed["sm >= 80"] == "sm cannot be changed on this machine"
    assert uncrossed["hidden_size % 8 == 0"] is None
    versions = {edge.text: edge.uncrossed for edge in planned("t.versions").edges}
    assert versions['package("torch") >= "2.0"'] == 'package("torch") cannot be changed on this machine'
    assert versions["package torch >=2"] == "other versions are not installed"


def test_a_kernel_for_another_device_is_not_called() -> None:
    assert planned("t.gpu").unprobed == {("t.gpu", "silu"): "wants `device == cuda`"}
