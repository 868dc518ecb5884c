"""LayerZero: rules decide which kernel runs each operation of PyTorch LLM inference, and every decision can be shown.

The names below load on first use: `import layerzero as lz` imports neither torch nor the policy machinery.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerzero.api import *  # noqa: F403
    from layerzero.backends.weights import AWQWeight, Fp8Weight, GPTQWeight, Int8Weight  # noqa: F401
    from layerzero.integrations.intercept import intercept as intercept

__version__ = "0.1.0"

_API = (
    *("Context", "Decision", "KernelInfo", "Plan", "Policy", "SelectedKernel"),
    *("attention", "paged_attention", "rms_norm", "layer_norm", "group_norm", "rope", "alibi"),
    *("swiglu", "gelu", "silu", "linear", "sample_topk", "sample_topp", "sample_greedy", "sample_speculative"),
    *("tokenize", "detokenize", "register_tokenizer"),
    *("select", "explain", "which", "list_kernels", "validate", "dry_run", "trace"),
    *("bind", "compile", "plan", "warmup", "readiness_check"),
    *("configure", "context", "pin", "using", "lock", "unlock", "prefer", "disabled", "enable"),
    *("request", "outcome", "experiment_status", "share_experiments", "resume_arm"),
    *("join_ranks", "register_kernel", "configure_breakers", "status", "doctor", "log_decisions"),
)
_ERRORS = (
    *("LayerZeroError", "ArgumentError", "ContextError", "UnknownNameError", "PolicyError"),
    *("NoKernelError", "KernelCallError", "MissingDependencyError", "RanksError"),
)
_WEIGHTS = ("Int8Weight", "Fp8Weight", "GPTQWeight", "AWQWeight")
_HOME = {
    **dict.fromkeys(_API, "layerzero.api"),
    **dict.fromkeys(_ERRORS, "layerzero.errors"),
    **dict.fromkeys(_WEIGHTS, "layerzero.backends.weights"),
    "intercept": "layerzero.integrations.intercept",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module `layerzero` has no attribute `{name}`")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
