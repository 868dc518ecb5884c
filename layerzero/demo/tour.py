"""The tour, from top to bottom: generate, ask why, change a rule, ask again, compare with the plain model."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable
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
# One number of one rule: from here on the rule applies half-way through the demo's text.
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

    @property
    def agrees(self) -> bool:
        return self.largest_difference <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "agrees": self.agrees}


class Guide:
    """Says the lines of the tour.

    Args:
        say: Called with each line.
        heading: Sets a heading off, on terminals.
        full: Show whole provenance trees, a line for every fact, instead of a line for every kernel.
    """

    def __init__(
        self, say: Callable[[str], None], heading: Callable[[str], str] = lambda text: text, full: bool = False
    ) -> None:
        self._say = say
        self._heading = heading
        self._full = full

    def heading(self, text: str) -> None:
        self._say("")
        self._say(self._heading(text))

    def lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(line)

    def written(self, run: Run, tokens: int) -> None:
        kernels = sum(record.seconds for record in (*run.prefill, *run.decode))
        self.heading(
            f"1. A Llama with {LAYERS} layers, {HEADS} heads over {KV_HEADS}, random weights, writes {tokens} tokens"
        )
        self.lines(
            [
                f"{PROMPT!r} -> {text_of(run.tokens)!r}",
                "(random weights write random bytes)",
                f"{run.seconds:.2f} s, of which {kernels:.2f} s in kernels; torch {torch.__version__}, CPU, one thread",
                "",
                *table(served(run)),
            ]
        )

    def explained(self, explanations: Iterable[Explanation]) -> None:
        more = "" if self._full else " (--full: all of it)"
        self.heading(f"2. Why these kernels: lz.explain for one prefill and one decode call{more}")
        for explanation in explanations:
            tree = str(explanation) if self._full else "\n".join(draw(condensed(explanation.proof)))
            self.lines(["", *fold(tree)])

    def changed(self, run: Run, name: str, before: Explanation, after: Explanation, why: str) -> None:
        self.heading("3. One rule changes; lz.configure puts the policy in force")
        self.lines(difference(POLICY, CHANGED, name))
        self.lines(["", *table([row for row in served(run) if row.operation == "attention"]), ""])
        self.lines(
            [
                f"the last decode call: {before.selected_kernel} -> {after.selected_kernel}; lz.explain(...).why:",
                *("  " + line for line in fold(why, WIDTH - 2)),
            ]
        )

    def compared(self, tour: Tour, count: int) -> None:
        self.heading("4. The numbers are the plain model's")
        agree = "they agree" if tour.agrees else "THEY DO NOT AGREE"
        self._say(f"largest difference of {count} logits: {tour.largest_difference:.1e}")
        self._say(f"tolerance {tour.tolerance:.0e}: {agree}")


def run(guide: Guide, tokens: int = TOKENS) -> Tour:
    """Takes the tour; returns what was shown. The demo's policy stays in force, and torch keeps one thread."""
    torch.set_num_threads(1)  # the model is too small for more, and the times are steadier
    plain = small_llama()
    model = copy.deepcopy(plain)
    with tempfile.TemporaryDirectory() as folder, lz_transformers.apply(model):
        file = Path(folder) / "demo.lzp"
        file.write_text(POLICY, encoding="utf-8")
        lz.configure(file)
        generate(model, PROMPT, 2)  # what a first call sets up is not what a call costs
        first = generate(model, PROMPT, tokens)
        guide.written(first, tokens)
        prefill, decode = _explain(first.prefill, "prefill"), _explain(first.decode, "decode")
        guide.explained([prefill, decode])

        file.write_text(CHANGED, encoding="utf-8")
        lz.configure(file)
        second = generate(model, PROMPT, tokens)
        after = _explain(second.decode, "decode")
        why = after.why.replace(f"{folder}/", "").replace(f"{shipped('policies').parent}/", "")
        guide.changed(second, file.name, decode, after, why)

    pairs = [(run.logits, plain_logits(plain, PROMPT, run.tokens)) for run in (first, second)]
    tour = Tour(
        tokens=first.tokens,
        served=served(first),
        served_after_change=served(second),
        prefill=prefill.to_dict(),
        decode=decode.to_dict(),
        decode_after_change=after.to_dict(),
        why=why,
        largest_difference=max(float((got - wanted).abs().max()) for got, wanted in pairs),
        tolerance=TOLERANCE,
    )
    guide.compared(tour, sum(wanted.numel() for _, wanted in pairs))
    return tour


def _explain(records: list[CallRecord], phase: str) -> Explanation:
    """`lz.explain` for the last attention call of a run, asked with the context that the call had."""
    for record in reversed(records):
        if record.operation == "attention":
            return lz.explain(operation=f"attention.{phase}", context=record.decision.values)
    raise LayerZeroError(f"the model made no attention call in {phase}; the tour has nothing to explain")
