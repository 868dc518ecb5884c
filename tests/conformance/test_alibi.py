"""The ALiBi bias, and that adding it equals asking attention for the slopes."""

from __future__ import annotations

import conformance_expected as expected
import pytest
import torch
from conformance_compare import DEVICES, assert_close, normal
from conformance_kernels import kernels, run, serves

from layerzero.operations import alibi


def slopes(heads: int) -> list[float]:
    """The recipe of the paper (Press et al.), by its recursion."""
    if heads & (heads - 1) == 0:
        return [2 ** (-8 * (h + 1) / heads) for h in range(heads)]
    below = 2 ** (heads.bit_length() - 1)
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", kernels("alibi"))
@pytest.mark.parametrize("sizes", [(8, 5, 5), (12, 1, 9), (6, 4, 11), (1, 3, 2), (3, 0, 4), (4, 4, 0)], ids=str)
def test_kernel_agrees(kernel: str, device: str, sizes: tuple[int, int, int]) -> None:
    heads, q_len, kv_len = sizes
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        call = alibi.read(heads, q_len, kv_len, dtype=dtype, device=device)
        if not serves(kernel, call):
            continue
        wanted = torch.zeros(heads, q_len, kv_len, dtype=torch.float64)
        for h, slope in enumerate(slopes(heads)):
            for i in range(q_len):
                for j in range(kv_len):
                    wanted[h, i, j] = -slope * abs(i + kv_len - q_len - j)
        got = run(kernel, call)
        assert got.dtype == dtype
        assert got.device.type == device
        assert_close(got, wanted, 1e-2 if dtype == torch.bfloat16 else 1e-6, f"{kernel} for {sizes}")


def test_the_bias_is_what_attention_adds_for_the_slopes() -> None:
    q, k, v = (normal(1, n, 4, 8, dtype=torch.float32, device="cpu", seed=s) for s, n in ((1, 5), (2, 9), (3, 9)))
    bias = run("reference.alibi", alibi.read(4, 5, 9))
    by_mask, _ = expected.attention(q, k, v, attn_mask=bias)
    by_slopes, _ = expected.attention(q, k, v, alibi_slopes=torch.tensor(slopes(4)))
    assert_close(by_mask, by_slopes, 1e-6, "alibi")
