"""Rejection sampling of drafts: what comes out is distributed as the target's own tokens, whatever the draft was.

The target and the draft are Markov chains over a few tokens, so that the distribution of the first tokens is known. A
draft proposes, the operation keeps and goes on, and what it did not come to is drawn from the target; the counts of all
words of three tokens are then compared with their probabilities by a chi-square test, with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from conformance_compare import DEVICES, normal
from conformance_kernels import kernels, run, serves
from torch import Tensor

from layerzero.operations import sample_speculative
from layerzero.operations.call import Call

VOCAB, WORD = 4, 3
MANY, ROW_BY_ROW = 20_000, 3_000
SIGNIFICANT = 1e-4
TREE = (-1, -1, 0, 0, 1, -1, 2)  # three beginnings, two of which go on
CHAIN = (-1, 0)

Operation = Callable[[Call], tuple[Tensor, Tensor]]


def chi_square(words: Tensor, probabilities: Tensor) -> float:
    """How probable it is that words so far off are drawn: words [n, WORD], probabilities [VOCAB] * WORD."""
    stats = pytest.importorskip("scipy.stats")
    places = VOCAB ** torch.arange(WORD - 1, -1, -1)
    counts = torch.bincount((words * places).sum(1), minlength=VOCAB**WORD)
    return float(stats.chisquare(counts.numpy(), (probabilities.flatten() * len(words)).numpy()).pvalue)


def written(
    operation: Operation, parents: Sequence[int], drawn: bool, device: str, rows: int = MANY, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Words that begin with what an operation gives, and the probability of each word under the target alone."""
    generator = torch.Generator(device).manual_seed(11)
    target, draft = (normal(VOCAB, VOCAB, dtype=torch.float32, device=device, seed=seed) * 1.5 for seed in (3, 4))
    chances, proposals = (logits.double().div(temperature).softmax(-1) for logits in (target, draft))
    before = torch.zeros(rows, dtype=torch.int64, device=device)  # every word follows token 0
    tokens = torch.empty(rows, len(parents), dtype=torch.int64, device=device)
    for parent in sorted(set(parents)):
        state = before if parent < 0 else tokens[:, parent]
        children = [node for node, own in enumerate(parents) if own == parent]
        if drawn:
            tokens[:, children] = torch.multinomial(proposals[state], len(children), generator=generator)
        else:  # the likeliest of the draft, as a draft without chance proposes them
            tokens[:, children] = draft[state].argsort(-1, descending=True)[:, : len(children)]
    states = torch.cat([before[:, None], tokens], dim=1)
    of_parent = torch.stack([before if parent < 0 else tokens[:, parent] for parent in parents], dim=1)
    call = sample_speculative.read(
        tokens, target[states], draft[of_parent] if drawn else None, tuple(parents), temperature, generator
    )
    got, nodes = operation(call)
    check_shape_of_answer(got, nodes, tokens, parents)
    words = got[:, :WORD].clone()
    words = torch.nn.functional.pad(words, (0, WORD - words.shape[1]), value=-1)
    for place in range(WORD):
        state = before if place == 0 else words[:, place - 1]
        rest = torch.multinomial(chances[state], 1, generator=generator)[:, 0]
        words[:, place] = torch.where(words[:, place] < 0, rest, words[:, place])
    first = chances[0]
    return words.cpu(), (first[:, None, None] * chances[:, :, None] * chances[None]).cpu()


def check_shape_of_answer(got: Tensor, nodes: Tensor, tokens: Tensor, parents: Sequence[int]) -> None:
    """The kept nodes are a path of the draft, and the tokens are theirs with one more."""
    kept = (nodes >= 0).sum(1)
    assert ((got >= 0).sum(1) == kept + 1).all()
    assert ((nodes >= 0).long().diff(dim=1) <= 0).all()
    known = nodes.clamp(min=0)
    assert torch.equal(got[:, :-1].masked_fill(nodes < 0, 0), tokens.gather(1, known).masked_fill(nodes < 0, 0))
    above = torch.tensor(parents, device=nodes.device)[known]
    wanted = torch.nn.functional.pad(nodes[:, :-1], (1, 0), value=-1)
    assert torch.equal(above[nodes >= 0], wanted[nodes >= 0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("drawn", [True, False], ids=["drawn", "without chance"])
@pytest.mark.parametrize("parents", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("kernel", kernels("sample_speculative"))
def test_what_is_written_is_distributed_as_the_targets_own(
    kernel: str, parents: tuple[int, ...], drawn: bool, device: str
) -> None:
    def operation(call: Call) -> tuple[Tensor, Tensor]:
        if not serves(kernel, call):
            pytest.skip("its facts do not cover the call")
        return run(kernel, call)  # type: ignore[no-any-return]

    rows = ROW_BY_ROW if kernel.startswith("reference") else MANY
    words, wanted = written(operation, parents, drawn, device, rows, temperature=0.8)
    assert chi_square(words, wanted) > SIGNIFICANT


@pytest.mark.parametrize("drawn", [True, False], ids=["drawn", "without chance"])
def test_the_measure_sees_a_sampler_that_is_wrong(drawn: bool) -> None:
    def wrong(call: Call) -> tuple[Tensor, Tensor]:
        """Draws from the target where a token was refused, as if nothing had been proposed."""
        tokens, nodes = run("torch.speculative_chain", call)
        kept = (nodes >= 0).sum(1)
        logits = call.args[1][torch.arange(len(kept)), kept] / call.kwargs.get("temperature", 1.0)
        anew = torch.multinomial(logits.softmax(-1), 1, generator=torch.Generator().manual_seed(5))
        return tokens.scatter(1, kept[:, None], anew), nodes

    words, wanted = written(wrong, CHAIN, drawn, "cpu")
    assert chi_square(words, wanted) < SIGNIFICANT


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kernel", kernels("sample_speculative"))
def test_what_is_certain_is_decided_without_chance(kernel: str, dtype: torch.dtype, device: str) -> None:
    never = -torch.inf
    target = torch.full((2, 3, VOCAB), never, dtype=dtype, device=device)
    target[:, 0, 1], target[:, 1, 2], target[:, 2, 3] = 0.0, 0.0, 0.0
    tokens = torch.tensor([[1, 2], [1, 0]], device=device)
    for draft in (None, torch.zeros(2, 2, VOCAB, dtype=dtype, device=device)):
        for parents in (None, (-1, -1)):
            call = sample_speculative.read(tokens, target, draft, parents)
            if not serves(kernel, call):
                continue
            got, nodes = run(kernel, call)
            if parents is None:
                assert got.tolist() == [[1, 2, 3], [1, 2, -1]]
                assert nodes.tolist() == [[0, 1], [0, -1]]
            else:
                assert got.tolist() == [[1, 2], [1, 2]]
                assert nodes.tolist() == [[0], [0]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", kernels("sample_speculative"))
def test_sizes_at_the_edge_and_seeds(kernel: str, device: str) -> None:
    def call(batch: int, count: int, parents: tuple[int, ...] | None = None) -> Call:
        generator = torch.Generator(device).manual_seed(5)
        logits = normal(batch, 2 * count + 1, 33, dtype=torch.float32, device=device, seed=1)
        tokens = torch.randint(0, 33, (batch, count), generator=generator, device=device)
        return sample_speculative.read(tokens, logits[:, : count + 1], logits[:, count + 1 :], parents, 1.0, generator)

    for batch, count, parents, width in ((3, 0, None, 1), (0, 4, None, 5), (1, 5, (-1, 0, 0, -1, 2), 4)):
        one, two = (call(batch, count, parents) for _ in range(2))
        if serves(kernel, one):
            first, second = run(kernel, one), run(kernel, two)
            assert first[0].shape == (batch, width)
            assert first[1].shape == (batch, width - 1)
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), (
                f"{kernel}: one seed, two results"
            )
