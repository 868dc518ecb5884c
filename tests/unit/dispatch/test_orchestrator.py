"""The orchestrator: bound operations go to their kernels, all others are decided."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import layerzero as lz
from layerzero.dispatch import StaticDispatcherBuilder, create_orchestrator

torch.set_num_threads(1)
Q, K, V = torch.randn(2, 3, 4, 16), torch.randn(2, 5, 4, 16), torch.randn(2, 5, 4, 16)


def test_one_entry_over_both_modes(tmp_path: Path) -> None:
    path = tmp_path / "dispatch_config.yaml"
    path.write_text('rules:\n  - {operation: "attention.*", kernel: "reference.attention"}\n', encoding="utf-8")
    static = StaticDispatcherBuilder().with_kernel("torch.sdpa_math", operation="attention.causal").build()
    with create_orchestrator(static, config_path=path) as orchestrator, lz.trace() as records:
        causal = orchestrator.dispatch("attention.causal", (Q, K, V))
        orchestrator.dispatch("attention", (Q, K, V))
        orchestrator.dispatch("silu", Q)
        assert [record.kernel for record in records] == ["torch.sdpa_math", "reference.attention", "torch.silu"]
        torch.testing.assert_close(causal, lz.attention(Q, K, V, is_causal=True))
        assert orchestrator.mode_for("attention.causal") == "static"
        assert orchestrator.mode_for("attention.decode") == "config"
        status = orchestrator.status()
        assert status.modes["attention.causal"] == "static" and status.modes["attention"] == "config"
        assert status.bindings == {"attention.causal": ("torch.sdpa_math",)}
        assert str(path) in status.policy.files
        assert orchestrator.explain("attention", (Q, K, V)).selected_kernel == "reference.attention"
        with pytest.raises(lz.ContextError, match="did you mean"):
            orchestrator.dispatch("attension", (Q, K, V))


def test_the_other_modes() -> None:
    with create_orchestrator() as orchestrator:
        assert orchestrator.mode_for("attention.causal") == "dynamic"
        assert set(orchestrator.status().modes.values()) == {"dynamic"}
