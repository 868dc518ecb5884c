"""Samplers: who may be drawn, how often, and reproducibly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conformance_compare import DEVICES, DTYPES, normal
from conformance_kernels import kernels, run, serves
from torch import Tensor

from layerzero.operations import sample
from layerzero.operations.call import Call


def draws(kernel: str, call: Call, count: int) -> Tensor:
    """[count, batch] draws with the call's arguments."""
    return torch.stack([run(kernel, call) for _ in range(count)]).cpu()


def generator(device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("sample"))
def test_only_the_likeliest_are_drawn(kernel: str, dtype: torch.dtype, device: str) -> None:
    logits = normal(5, 97, dtype=dtype, device=device, seed=1) * 3
    ranked = logits.cpu().double().sort(descending=True, stable=True)
    for k in (1, 2, 10, 97, 1000):
        call = sample.read_topk(logits, k=k, generator=generator(device))
        if serves(kernel, call):
            tokens = draws(kernel, call, 30)
            assert tokens.dtype == torch.int64
            # By value, not by rank: equal logits may stand in either order.
            floor = ranked.values[:, min(k, 97) - 1]
            assert (floor <= logits.cpu().double().gather(1, tokens.T).T).all(), f"{kernel} k={k}"
    for p in (1e-6, 0.3, 0.9, 1.0):
        call = sample.read_topp(logits, p=p, generator=generator(device))
        if serves(kernel, call):
            tokens = draws(kernel, call, 30)
            mass = ranked.values.softmax(-1).cumsum(-1)
            needed = (mass < p - 1e-5).sum(-1)  # the token that crosses p is the last that may be drawn
            floor = ranked.values.gather(1, needed.clamp(max=96)[:, None])[:, 0]
            assert (floor <= logits.cpu().double().gather(1, tokens.T).T).all(), f"{kernel} p={p}"
    call = sample.read_greedy(logits)
    if serves(kernel, call):
        best = logits.cpu().gather(1, run(kernel, call).cpu()[:, None])[:, 0]
        assert torch.equal(best, logits.cpu().max(-1).values)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", kernels("sample"))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_probabilities(kernel: str, device: str, temperature: float) -> None:
    weights = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])
    logits = weights.log().expand(20_000, 5).to(device)
    tempered = weights ** (1 / temperature)
    options: list[tuple[Any, dict[str, Any], int]] = [
        (sample.read_topk, {"k": 3}, 3),
        (sample.read_topk, {"k": 50}, 5),
        (sample.read_topp, {"p": 1.0}, 5),
    ]
    for read, option, kept in options:
        call = read(logits, **option, temperature=temperature, generator=generator(device))
        if not serves(kernel, call):
            continue
        wanted = torch.zeros(5)
        wanted[:kept] = tempered[:kept] / tempered[:kept].sum()
        got = torch.bincount(run(kernel, call).cpu(), minlength=5) / 20_000
        assert (got - wanted).abs().max() < 0.02, f"{kernel} {option}: {got} instead of {wanted}"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", kernels("sample"))
def test_shapes_and_seeds(kernel: str, device: str) -> None:
    logits = normal(4, 33, dtype=torch.float32, device=device, seed=1)
    for read in (sample.read_topk, sample.read_topp):
        one, two = (read(logits, generator=generator(device)) for _ in range(2))
        if serves(kernel, one):
            assert torch.equal(run(kernel, one), run(kernel, two)), f"{kernel}: one seed, two results"
        for part, shape in ((logits[0], ()), (logits[:1], (1,)), (logits[:0], (0,))):
            call = read(part)
            if serves(kernel, call):
                assert run(kernel, call).shape == shape
    excluded = logits.clone()
    excluded[:, 1:] = -torch.inf
    for call in (sample.read_topk(excluded), sample.read_topp(excluded), sample.read_greedy(excluded)):
        if serves(kernel, call):
            assert not run(kernel, call).any(), f"{kernel} draws a token of probability 0"
