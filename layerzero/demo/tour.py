"""The tour, from top to bottom: generate, ask why, change a rule, ask again, compare with the plain model."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from layerzero import api as lz
from layerzero.demo.model import HEADS, KV_HEADS, LAYERS, PROMPT, Run, generate, plain_logits, small_llama
from layerzero.demo.provenance import condensed
from layerzero.demo.report import WIDTH, Served, difference, fold, served, table, text_of
from layerzero.dispatch.trace import CallRecord
from layerzero.errors import LayerZeroError
from layerzero.integrations import transformers as lz_transformers
from layerzero.resources import shipped
from layerzero.runtime.explanation import Explanation
from layerzero.semantics.explain_text import draw

TOKENS = 32
# fp32 kernels add up in different orders; four small layers keep that well below this.
TOLERANCE = 1e-5

POLICY = """\
policy "demo" version 1

# One query against many keys: which of the two that a CPU has?
order torch.sdpa_math > torch.sdpa_flash_cpu for attention.decode when kv_len >= 4Ki as long_decode
  because "the plain matrix products read a long cache once"
"""
# One number of one rule: from here on, the rule applies half-way through the demo's text.
CHANGED = POLICY.replace("4Ki", "50")


@dataclass(frozen=True)
class Tour:
    """Everything that the tour showed, for `lz demo --json`."""

    tokens: list[int]
    served: list[Served]
    served_after_change: list[Served]
    prefill: dict[str, Any]
    decode: dict[str, Any]
    decode_after_change: dict[str, Any]
    why: str
    largest_difference: float
    tolerance: float
    agrees: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(
    say: Callable[[str], None], heading: Callable[[str], str] = str, tokens: int = TOKENS, full: bool = False
) -> Tour:
    """Takes the tour.

    Args:
        say: Called with each line.
        heading: How a heading is set off, for terminals.
        tokens: How many tokens to write.
        full: Show whole provenance trees, a line for every fact, instead of a line for every kernel.

    Returns:
        What was shown.
    """
    torch.set_num_threads(1)  # the model is too small for more, and the times are steadier
    plain = small_llama()
    model = copy.deepcopy(plain)
    with tempfile.TemporaryDirectory() as folder, lz_transformers.apply(model) as applied:
        file = Path(folder) / "demo.lzp"
        file.write_text(POLICY, encoding="utf-8")
        lz.configure(file)

        say(
            heading(
                f"1. A Llama of {LAYERS} layers, {HEADS} heads over {KV_HEADS}, random weights, writes {tokens} tokens"
            )
        )
        say(
            f"   through LayerZero: {', '.join(applied.replaced)} and sampling; torch {torch.__version__}, CPU, one thread"
        )
        generate(model, PROMPT, 2)  # what a first call sets up is not what a call costs
        first = generate(model, PROMPT, tokens)
        say(f"   {PROMPT!r} -> {text_of(first.tokens)!r}")
        say(
            f"   (random weights write random bytes) in {first.seconds:.1f} s, of which kernels {_kernel_time(first):.1f} s"
        )
        say("")
        _say_all(say, table(served(first)))

        say("")
        say(
            heading(
                "2. Why these kernels: lz.explain for one prefill and one decode call"
                + ("" if full else " (--full: all of it)")
            )
        )
        prefill, decode = _explain(first.prefill, "prefill"), _explain(first.decode, "decode")
        for explanation in (prefill, decode):
            say("")
            _say_all(say, fold(str(explanation) if full else "\n".join(draw(condensed(explanation.proof)))))

        say("")
        say(heading("3. One rule changes; lz.configure swaps the policy"))
        file.write_text(CHANGED, encoding="utf-8")
        _say_all(say, difference(POLICY, CHANGED, file.name))
        lz.configure(file)
        second = generate(model, PROMPT, tokens)
        say("")
        _say_all(say, table([row for row in served(second) if row.operation == "attention"]))
        changed = _explain(second.decode, "decode")
        say("")
        say(f"the last decode call: {decode.selected_kernel} -> {changed.selected_kernel}; lz.explain(...).why says")
        why = changed.why.replace(f"{folder}/", "").replace(f"{shipped('policies').parent}/", "")
        _say_all(say, ["  " + line for line in fold(why, WIDTH - 2)])

    say("")
    say(heading("4. The numbers are the plain model's"))
    largest = max(float((run.logits - plain_logits(plain, PROMPT, run.tokens)).abs().max()) for run in (first, second))
    agreement = "they agree" if largest <= TOLERANCE else "THEY DO NOT AGREE"
    say(f"largest difference of {2 * tokens} x 256 logits: {largest:.1e}, tolerance {TOLERANCE:.0e}: {agreement}")
    return Tour(
        tokens=first.tokens,
        served=served(first),
        served_after_change=served(second),
        prefill=prefill.to_dict(),
        decode=decode.to_dict(),
        decode_after_change=changed.to_dict(),
        why=why,
        largest_difference=largest,
        tolerance=TOLERANCE,
        agrees=largest <= TOLERANCE,
    )


def _explain(records: list[CallRecord], phase: str) -> Explanation:
    """`lz.explain` for the last attention call of a run, asked with the context that the call had."""
    for record in reversed(records):
        if record.operation == "attention":
            return lz.explain(operation=f"attention.{phase}", context=record.decision.values)
    raise LayerZeroError(f"the model made no attention call in {phase}; the tour has nothing to explain")


def _kernel_time(run: Run) -> float:
    return sum(record.seconds for record in (*run.prefill, *run.decode))


def _say_all(say: Callable[[str], None], lines: list[str]) -> None:
    for line in lines:
        say(line)
