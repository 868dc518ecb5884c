"""Every operation in plain torch: readable, on every device and dtype, with every feature. The last fallback.

16-bit and 8-bit inputs are accumulated in fp32, fp64 in fp64, and rounded once, at the end.
"""

from __future__ import annotations

from layerzero.backends.reference.activations import gelu, silu, swiglu
from layerzero.backends.reference.attention import attention
from layerzero.backends.reference.linear import linear
from layerzero.backends.reference.norms import group_norm, layer_norm, rms_norm
from layerzero.backends.reference.positions import alibi, rope
from layerzero.backends.reference.sampling import sample, sample_speculative

__all__ = [
    "alibi",
    "attention",
    "gelu",
    "group_norm",
    "layer_norm",
    "linear",
    "rms_norm",
    "rope",
    "sample",
    "sample_speculative",
    "silu",
    "swiglu",
]
