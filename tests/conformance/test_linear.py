"""Linear layers with dense and quantised weights; what each stored element stands for is written out here once more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conformance_compare import DEVICES, DTYPES, normal
from conformance_kernels import kernels, run, serves
from torch import Tensor

from layerzero.backends.weights import AWQWeight, Fp8Weight, GPTQWeight, Int8Weight
from layerzero.operations import linear
from layerzero.operations.call import Call

EPS = {torch.float64: 2.2e-16, torch.float32: 1.2e-7, torch.float16: 9.8e-4, torch.bfloat16: 7.8e-3}

CASES: list[dict[str, Any]] = [
    *({"kind": "dense", "shape": s} for s in ((3, 64, 32), (1, 1, 1), (5, 33, 7), (0, 8, 4), (2, 3, 16, 5))),
    {"kind": "dense", "shape": (3, 64, 32), "bias": True},
    {"kind": "dense", "shape": (6, 40, 8), "strided": True},
    *(
        {"kind": kind, "shape": shape, "bias": bias}
        for kind in ("int8", "fp8", "fp8 rows", "gptq", "awq")
        for shape in ((1, 64, 32), (2, 3, 128, 48))
        for bias in (False, True)
    ),
    *({"kind": "int8", "shape": (3, n, 7)} for n in (33, 40)),
    *({"kind": kind, "shape": (3, 128, 16), "group": g} for kind in ("gptq", "awq") for g in (16, 64, 128)),
    {"kind": "gptq", "shape": (3, 64, 24)},
    {"kind": "gptq", "shape": (3, 64, 32), "order": True, "bias": True},
    {"kind": "gptq", "shape": (3, 64, 32), "bits": 8},
    {"kind": "gptq", "shape": (3, 64, 32), "bits": 2},
    {"kind": "gptq", "shape": (3, 64, 32), "offset": 0},
    {"kind": "gptq", "shape": (0, 64, 32)},
    {"kind": "fp8", "shape": (0, 64, 32)},
]


def pack(levels: Tensor, bits: int) -> Tensor:
    """[n, 32 / bits * m] -> int32 [n, m], bit by bit: element i of a word begins at bit i * bits."""
    per = 32 // bits
    words = torch.zeros(levels.shape[0], levels.shape[1] // per, dtype=torch.int64)
    for i in range(per):
        words |= levels[:, i::per].to(torch.int64) << (i * bits)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def quantised(case: dict[str, Any], inputs: int, out: int) -> tuple[Any, Tensor]:
    """A weight, and the dense [out, in] in fp64 that it stands for."""
    kind, draw = case["kind"], torch.Generator().manual_seed(3)
    if kind == "int8":
        values = torch.randint(-127, 128, (out, inputs), generator=draw, dtype=torch.int8)
        scale = torch.rand(out, generator=draw) * 0.01 + 0.001
        return Int8Weight(values, scale), values.double() * scale.double()[:, None]
    if kind.startswith("fp8"):
        values = torch.randn(out, inputs, generator=draw).to(torch.float8_e4m3fn)
        scale = torch.rand(out, generator=draw) + 0.5 if "rows" in kind else torch.tensor(0.5)
        return Fp8Weight(values, scale), values.double() * (scale.double()[:, None] if scale.ndim else scale.double())
    bits, group = case.get("bits", 4), case.get("group", 32)
    groups = inputs // group
    q = torch.randint(0, 2**bits, (out, inputs), generator=draw)
    zeros = torch.randint(1, 2**bits, (groups, out), generator=draw)
    scales = torch.rand(groups, out, generator=draw) * 0.02 + 0.001
    order = torch.arange(inputs) // group
    if case.get("order"):
        order = order[torch.randperm(inputs, generator=draw)]
    dense = torch.stack([(q[:, i] - zeros[order[i]]).double() * scales[order[i]].double() for i in range(inputs)], 1)
    if kind == "awq":
        places = torch.arange(out).view(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].flatten()
        return AWQWeight(pack(q.T[:, places], 4), pack(zeros[:, places], 4), scales), dense
    offset = case.get("offset", 1)
    index = order.to(torch.int32) if case.get("order") else None
    words = pack(q, bits).T.contiguous()
    return GPTQWeight(words, pack(zeros - offset, bits), scales, index, bits, offset), dense


def moved(weight: Any, device: str) -> Any:
    if isinstance(weight, Tensor):
        return weight.to(device)
    more = {"bits": weight.bits, "zero_offset": weight.zero_offset} if isinstance(weight, GPTQWeight) else {}
    return type(weight)(**{name: tensor.to(device) for name, tensor in weight.tensors.items()}, **more)


def build(case: dict[str, Any], dtype: torch.dtype, device: str) -> tuple[dict[str, Any], Tensor, Tensor]:
    """Arguments, what the definition gives, and the sum of magnitudes that bounds its rounding."""
    *lead, inputs, out = case["shape"]
    x = normal(*lead, inputs, dtype=dtype, device=device, seed=1)
    if case.get("strided"):
        x = x.mT.contiguous().mT
    if case["kind"] == "dense":
        weight: Any = normal(out, inputs, dtype=dtype, device=device, seed=2)
        dense = weight.cpu().double()
    else:
        weight, dense = quantised(case, inputs, out)
    arguments = {"x": x, "weight": moved(weight, device)}
    if case.get("bias"):
        arguments["bias"] = normal(out, dtype=torch.bfloat16 if dtype.itemsize == 1 else dtype, device=device, seed=4)
    wide = x.cpu().double()
    bias = arguments["bias"].cpu().double() if case.get("bias") else torch.zeros(out, dtype=torch.float64)
    return arguments, wide @ dense.T + bias, wide.abs() @ dense.abs().T + bias.abs()


def check(kernel: str, call: Call, wanted: Tensor, size: Tensor, dtype: torch.dtype, what: str) -> None:
    """Rounding each product and the sum a few times costs a few eps of the sum of the magnitudes."""
    got = run(kernel, call)
    assert got.dtype == dtype, what
    assert got.shape == wanted.shape, what
    error = (got.detach().cpu().double() - wanted).abs()
    assert (error <= 4 * EPS[dtype] * size + 1e-300).all(), f"{what}: off by {(error / size).max():.1e} of the sum"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("linear"))
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for case in CASES:
        arguments, wanted, size = build(case, dtype, device)
        call = linear.read(**arguments)
        if serves(kernel, call):
            served += 1
            check(kernel, call, wanted, size, dtype, f"{kernel} on {case}")
    if device == "cpu" and dtype == torch.float32 and kernel != "torch.fp8_linear":
        assert served, f"{kernel} serves nothing"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", kernels("linear"))
def test_fp8_inputs_are_answered_in_bf16(kernel: str, device: str) -> None:
    for case in CASES:
        if case["kind"].startswith("fp8"):
            arguments, wanted, size = build(case, torch.float8_e4m3fn, device)
            call = linear.read(**arguments)
            if serves(kernel, call):
                check(kernel, call, wanted, size, torch.bfloat16, f"{kernel} on {case}")


def test_every_format_has_a_kernel_that_multiplies_what_is_stored() -> None:
    for kind, wanted in (
        ("int8", "torch.int8_linear"),
        ("fp8", "torch.fp8_linear"),
        ("gptq", "torch.int4_linear"),
        ("awq", "torch.int4_linear"),
    ):
        dtype = torch.float8_e4m3fn if kind == "fp8" else torch.bfloat16
        call = linear.read(**build({"kind": kind, "shape": (3, 64, 32)}, dtype, "cpu")[0])
        assert serves(wanted, call) and serves("reference.linear", call)


def test_what_is_read_past_its_end_is_never_asked() -> None:
    """Of 40 inputs in bf16 the integer kernel of torch 2.13 makes 1e27; 33 end the process."""
    for inputs in (33, 40):
        call = linear.read(**build({"kind": "int8", "shape": (3, inputs, 4)}, torch.bfloat16, "cpu")[0])
        assert not serves("torch.int8_linear", call)


def test_gradients_reach_the_input() -> None:
    for case in ({"kind": "dense", "shape": (3, 64, 32)}, {"kind": "int8", "shape": (3, 64, 32)}):
        arguments, _, _ = build(case, torch.float32, "cpu")
        weight = arguments["weight"]
        dense = weight if isinstance(weight, Tensor) else weight.dense(torch.float32)
        call = linear.read(**arguments | {"x": arguments["x"].requires_grad_()})
        for kernel in kernels("linear"):
            if serves(kernel, call):
                (gradient,) = torch.autograd.grad(run(kernel, call).sum(), arguments["x"])
                torch.testing.assert_close(gradient, dense.sum(0).expand_as(gradient), atol=1e-4, rtol=1e-4)
