"""Plans, warm-ups and readiness: what is decided, loaded and compiled before the first request."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from layerzero.dispatch.plan import Plan, make_plan
from layerzero.dispatch.readiness import issues_of
from layerzero.dispatch.warmup import ProgressBar, Warmth
from layerzero.errors import ArgumentError, ContextError
from layerzero.operations.shapes import SHAPES

CPU = {"device": "cpu"}
SLOW = "kernel {name} for silu {{ priority 95 supports backward, strided, inner_strided, misaligned set jit = true }}"


def plan_of(ahead: Any, operation: str, *shapes: tuple[int, ...], dtype: object = "fp32", **fields: Any) -> Plan:
    return make_plan(ahead.dispatcher, operation, shapes, CPU, dtype, fields)


def test_a_plan_says_what_the_policy_decides_for_each_shape(ahead: Any) -> None:
    plan = plan_of(ahead, "attention.causal", (1, 512, 32, 128), (1, 512, 32, 128), (8, 64, 4, 300))
    assert [call.shape for call in plan.calls] == [(1, 512, 32, 128), (8, 64, 4, 300)]
    assert plan.calls[0].kernel == "torch.sdpa_flash_cpu"
    assert plan.calls[0].context["q_len"] == 512
    assert plan.kernels == tuple(plan.buckets)
    assert "attention.causal" in str(plan)


def test_a_decoding_shape_is_that_of_the_keys(ahead: Any) -> None:
    context = plan_of(ahead, "attention.decode", (8, 2048, 32, 128), kv_heads=8).calls[0].context
    assert (context["q_len"], context["kv_len"], context["q_heads"], context["kv_heads"]) == (1, 2048, 32, 8)


def test_a_stored_plan_is_the_same_plan_and_knows_its_snapshot(ahead: Any, tmp_path: Path) -> None:
    plan = plan_of(ahead, "attention.causal", (1, 512, 32, 128), dtype=torch.bfloat16)
    loaded = Plan.load(plan.save(tmp_path / "plan.json"))
    assert loaded == plan
    assert loaded.made_by(ahead.engine.current())
    ahead.policy('policy "p" lock torch.sdpa_math for attention')
    assert not loaded.made_by(ahead.engine.current())
    report = Warmth(ahead.dispatcher).warm(loaded)
    assert report.plan.kernels == ("torch.sdpa_math",)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "lz.plan/9"}', '{"schema": "lz.plan/1", "calls": [[]]}'])
def test_a_file_that_holds_no_plan_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ArgumentError, match="holds no plan"):
        Plan.load(path)


@pytest.mark.parametrize(
    ("operation", "shape", "fields", "error", "message"),
    [
        ("attention", (1, 2, 3), {}, ArgumentError, r"wanted \(batch, seq, heads, head_dim\)"),
        ("attention", (1, 2, 3, -4), {}, ArgumentError, "given"),
        ("attention", "1234", {}, ArgumentError, "given '1234'"),
        ("attention", (1, 2, 3, 4), {"kv_head": 1}, ContextError, "did you mean `kv_heads`"),
        ("tokenize", (1,), {}, ArgumentError, "has no shapes"),
        ("attenshun", (1,), {}, ContextError, "attention"),
    ],
)
def test_a_shape_or_field_that_does_not_fit_is_an_error(
    ahead: Any, operation: str, shape: Any, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_of(ahead, operation, shape, **fields)


def test_a_plan_needs_a_shape(ahead: Any) -> None:
    with pytest.raises(ArgumentError, match="at least one"):
        plan_of(ahead, "attention")


def test_what_is_planned_is_cold_until_it_is_warm(ahead: Any) -> None:
    warmth = Warmth(ahead.dispatcher)
    assert issues_of(ahead.engine, warmth) == []
    plan = warmth.add(plan_of(ahead, "attention.causal", (1, 512, 32, 128)))
    assert [issue.split(":")[0] for issue in issues_of(ahead.engine, warmth)] == [
        "torch.sdpa_flash_cpu is cold for attention.causal (1, 512, 32, 128)"
    ]
    assert warmth.warm(plan).ok
    assert issues_of(ahead.engine, warmth) == []
    ahead.policy('policy "p" lock torch.sdpa_math for attention')
    assert [issue.split(" ")[0] for issue in warmth.cold()] == ["torch.sdpa_math"]


def test_a_planned_call_that_no_kernel_serves_is_an_issue(ahead: Any) -> None:
    ahead.policy('policy "p" quarantine * for silu')
    warmth = Warmth(ahead.dispatcher)
    report = warmth.warm(plan_of(ahead, "silu", (2, 8)))
    assert not report.ok
    assert warmth.cold() == ["silu (2, 8) has no kernel: no_kernel"]


def test_a_kernel_that_compiles_is_called_once_for_each_shape_as_the_caller_serves(ahead: Any) -> None:
    calls = []

    def compiled(x: torch.Tensor) -> torch.Tensor:
        calls.append((tuple(x.shape), x.dtype, torch.is_grad_enabled()))
        return x

    kernel = ahead.kernel(compiled, SLOW.format(name="mine.silu"))
    warmth = Warmth(ahead.dispatcher)
    plan = plan_of(ahead, "silu", (2, 8), (3, 8), dtype="bf16")
    with torch.no_grad():
        report = warmth.warm(plan)
    assert sorted(calls) == [((2, 8), torch.bfloat16, False), ((3, 8), torch.bfloat16, False)]
    assert [(one.kernel, one.called) for one in report.visits] == [(kernel, True), (kernel, True)]
    assert warmth.warm(plan).visits == ()
    warmth.add(plan_of(ahead, "silu", (4, 8), dtype="bf16"))
    assert len(warmth.cold()) == 1


def test_a_kernel_that_fails_is_reported_and_stays_cold(ahead: Any) -> None:

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no compiler\nmore")

    ahead.kernel(broken, SLOW.format(name="mine.silu"))
    warmth = Warmth(ahead.dispatcher)
    report = warmth.warm(plan_of(ahead, "silu", (2, 8)))
    assert not report.ok
    assert report.visits[0].problem == "RuntimeError: no compiler"
    assert len(warmth.cold()) == 1


def test_backends_are_visited_side_by_side_and_the_kernels_of_one_in_turn(ahead: Any) -> None:
    meeting, running, most = threading.Barrier(2, timeout=20), [0], [0]

    def one(x: torch.Tensor) -> torch.Tensor:
        running[0] += 1
        most[0] = max(most[0], running[0])
        meeting.wait()
        running[0] -= 1
        return x

    for name, hidden in (("left.silu", 8), ("right.silu", 16)):
        facts = SLOW.format(name=name).replace("set jit", f"require hidden_size == {hidden} set jit")
        ahead.kernel(one, facts)
    report = Warmth(ahead.dispatcher).warm(plan_of(ahead, "silu", (2, 8), (3, 16)))
    assert report.ok, str(report)
    assert most == [2]


def test_the_bar_tells_how_far_it_is(ahead: Any) -> None:
    stream = io.StringIO()
    Warmth(ahead.dispatcher).warm(plan_of(ahead, "silu", (2, 8)), ProgressBar(stream))
    assert "[........................] 0/1 torch.silu (2, 8)" in stream.getvalue()
    assert stream.getvalue().endswith("[########################] 1/1 \n")


FIELDS: dict[str, dict[str, Any]] = {
    "attention.paged": {"page_size": 16, "kv_heads": 2},
    "attention": {"window": 4, "softcap": 2.0, "scale": 0.5, "has_alibi": True, "has_sinks": True, "return_lse": True},
    "attention.causal": {"mask_kind": "bool", "layout": "bhsd"},
    "group_norm": {"num_groups": 2, "has_bias": True},
    "rms_norm": {"has_residual": True},
    "gelu": {"approximate": "tanh"},
    "sample.topk": {"top_k": 3},
    "sample.topp": {"top_p": 0.5},
    "rope": {"interleaved": True, "per_sequence": True},
}


@pytest.mark.parametrize("operation", [*FIELDS, "attention.decode", "layer_norm", "swiglu", "silu", "sample.greedy"])
def test_the_example_of_a_context_is_a_call_that_has_it(ahead: Any, operation: str) -> None:
    """Read again, the example that a kernel is warmed with says what the plan says."""
    head = operation.partition(".")[0]
    shapes = {"attention": (2, 32, 4, 16), "rope": (2, 5, 4, 16), "group_norm": (2, 4, 6), "sample": (2, 9)}
    plan = plan_of(ahead, operation, shapes.get(head, (3, 8)), **FIELDS.get(operation, {}))
    request = Warmth(ahead.dispatcher).example_call(plan.operation, plan.calls[0])
    said = {name: value for name, value in plan.calls[0].context.items() if name not in ("rows", "device")}
    assert {name: request.context.get(name) for name in said} == said


def test_every_operation_with_shapes_is_known_to_the_prelude(ahead: Any) -> None:
    assert set(SHAPES) <= set(ahead.engine.current().program.operations)


def test_a_plan_is_json(ahead: Any) -> None:
    data = json.loads(plan_of(ahead, "silu", (2, 8)).to_json())
    assert data["schema"] == "lz.plan/1"
    assert data["calls"][0][2] == "torch.silu"
