"""The examples that state other programs' tables agree with the answers of those programs.

The answers of vLLM and SGLang were recorded from the released wheels with
`python benchmarks/selectors/run.py NAME --rows N --seed 1 --record FILE`; torch is asked here.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from benchmarks.selectors.compare import differences
from layerzero.check import load

pytest.importorskip("torch")

RECORDED = Path(__file__).parent / "selectors"
EXAMPLES = Path(__file__).resolve().parents[3] / "policies" / "examples"


@pytest.mark.parametrize(("name", "backends"), [("vllm", 16), ("sglang", 5)])
def test_recorded_answers(name: str, backends: int) -> None:
    rows = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    wanted = [row.pop("kernel") for row in rows]
    assert len({kernel for kernel in wanted if kernel is not None}) >= backends
    assert differences(name, rows, wanted) == []


def test_torch_on_this_machine() -> None:
    from benchmarks.selectors import torch_sdpa

    rng = random.Random(1)
    contexts = [torch_sdpa.draw(rng) for _ in range(600)]
    answer = torch_sdpa.ask()
    wanted = [answer(context) for context in contexts]
    assert {"torch.flash_attention", "torch.math"} <= set(wanted)
    assert differences("torch_sdpa", contexts, wanted) == []


def test_vllm_is_stated_in_few_statements() -> None:
    program = load(EXAMPLES / "vllm.lzp").program
    assert program is not None
    lines = (EXAMPLES / "vllm.lzp").read_text(encoding="utf-8").splitlines()
    statements = [line for line in lines if line[:1].isalpha()]
    assert len(program.kernels) == 18
    assert 18 < len(statements) <= 150
