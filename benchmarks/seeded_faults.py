"""Random policies with planted faults -> the share that `lz check` finds, the misses, and what it could not decide.

    python benchmarks/seeded_faults.py [--policies 500] [--seed 0] [--samples 40]
    python benchmarks/seeded_faults.py --first 200     # goes on after the first 200 of them

In each policy one rule is made dead, one shadowed by the union of two others, one lock impossible, and two locks made
to conflict, with remainders and comparisons of fields among the conditions. Whatever is called shadowed, redundant,
dead or decided is sampled against the interpreter as well: `unsound` has to be 0.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from random import Random

from layerzero.analysis.checks import study
from layerzero.check import program_from_text
from layerzero.check.expressions import Value
from layerzero.check.program import Program, Rule, Scope
from layerzero.errors import PolicyError
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof
from layerzero.syntax.diagnostics import Diagnostic

TODAY = date(2026, 6, 1)
FACTS = """
field sm: int in 50..130
field batch: int in 1..512
field heads: int in 1..128
field kv_heads: int in 1..128
field head_dim: int in 8..256
field dtype: enum(fp16, bf16, fp32, fp8)
field tenant: string
field paged: bool = false
operation attention {
  needs batch, heads, kv_heads, head_dim, dtype  optional sm
  view decode when batch > 64  feature pages when paged  fallback reference.plain
}
kernel fast.a for attention { priority 80 require sm >= 90 and dtype in {fp16, bf16} }
kernel fast.b for attention { priority 70 require head_dim % 16 == 0 supports pages }
kernel wide.a for attention { priority 60 require heads % kv_heads == 0 supports pages when sm >= 80 }
kernel wide.b for attention { priority 55 require head_dim <= 128 or dtype == fp32 }
kernel plain.a for attention { priority 40 supports pages }
kernel reference.plain for attention { priority 1 supports pages }
"""
KERNELS = ("fast.a", "fast.b", "wide.a", "wide.b", "plain.a")
TARGETS = (*KERNELS, "fast", "wide", "*.a", "{fast.b, plain.a}")
# What a lock of the kernel could never meet: the negation of what it requires, where that is known.
BARRED = {
    "fast.a": ("sm in 60..89", "dtype in {fp32, fp8} and sm >= 90"),
    "fast.b": ("head_dim % 16 == 3", "head_dim % 32 == 8 and batch > 3"),
    "wide.a": ("heads < kv_heads", "heads > 2 and kv_heads == heads + 1"),
    "wide.b": ("head_dim > 160 and dtype == fp8", "head_dim == 200 and dtype != fp32"),
}


@dataclass(frozen=True)
class Planted:
    """One fault, the code that names it, and a rule whose name stands in the finding."""

    fault: str
    code: str
    rule: str


@dataclass
class Tally:
    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    questions: int = 0
    claims: int = 0
    misses: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.planted += other.planted
        self.found += other.found
        self.questions += other.questions
        self.claims += other.claims
        self.misses += other.misses
        self.doubts += other.doubts
        self.unsound += other.unsound

    @property
    def share(self) -> float:
        return sum(self.found.values()) / max(1, sum(self.planted.values()))

    @property
    def unknown(self) -> float:
        return len(self.doubts) / max(1, self.questions)


# ---------------------------------------------------------------- policies


class Writer:
    def __init__(self, random: Random) -> None:
        self.random = random

    def policy(self) -> tuple[str, list[Planted]]:
        lines = [self.rule(index) for index in range(self.random.randint(6, 14))]
        planted: list[Planted] = []
        for plant in (self.dead, self.shadowed, self.impossible, self.conflict):
            text, fault = plant()
            lines += text
            planted.append(fault)
        self.random.shuffle(lines)
        return FACTS + "\n".join(lines), planted

    def rule(self, index: int) -> str:
        pick = self.random
        kind = pick.choice(("deny", "deny", "boost", "boost", "quarantine", "order", "allow"))
        target = pick.choice(TARGETS)
        if kind == "order":
            target = " > ".join(pick.sample(KERNELS, 2))
        if kind == "allow":
            target = "{fast, wide, plain, reference}" if pick.random() < 0.7 else "{fast.a, plain, reference}"
        by = f" by {pick.choice(('0.5', '1.5', '2'))}" if kind == "boost" else ""
        priority = f" priority {index + 1}" if kind == "order" else ""
        return f"{kind} {target}{by} for attention when {self.condition(2)}{priority} as rule_{index}"

    def condition(self, depth: int) -> str:
        if depth == 0 or self.random.random() < 0.3:
            return self.test()
        one, other = self.condition(depth - 1), self.condition(depth - 1)
        return self.random.choice((f"({one}) and ({other})", f"({one}) and ({other})", f"({one}) or ({other})"))

    def test(self) -> str:
        pick = self.random
        number = pick.randint(2, 100)
        return pick.choice(
            (
                f"batch {pick.choice(('<', '>=', '>', '<='))} {number}",
                f"batch in {number}..{number + pick.randint(5, 200)}",
                f"head_dim % {pick.choice((8, 16, 32))} == {pick.choice((0, 0, 4))}",
                f"heads {pick.choice(('<', '>=', '==', '!='))} kv_heads",
                f"heads % kv_heads {pick.choice(('==', '!='))} 0",
                f"has(sm) and sm {pick.choice(('<', '>='))} {pick.choice((80, 90, 100))}",
                f"dtype {pick.choice(('==', '!='))} {pick.choice(('fp16', 'bf16', 'fp32', 'fp8'))}",
                f"heads * 2 > {number}",
                'has(tenant) and tenant == "bank"',
                "paged",
            )
        )

    # ------------------------------------------------------------ faults

    def dead(self) -> tuple[list[str], Planted]:
        pick = self.random
        impossible = pick.choice(
            (
                f"head_dim % 8 == {pick.randint(1, 7)} and head_dim % 4 == 0 and head_dim % 16 == 0",
                "heads < kv_heads and kv_heads < batch and batch < heads",
                "heads % kv_heads == 0 and heads < kv_heads",
                f"has(sm) and sm < 80 and sm >= {pick.randint(90, 120)}",
                f"heads * 2 > 250 and heads < {pick.randint(20, 120)}",
                f"batch + heads == {pick.randint(700, 900)}",
            )
        )
        kind = pick.choice(("deny", "boost", "quarantine"))
        by = " by 2" if kind == "boost" else ""
        return [f"{kind} {pick.choice(TARGETS)}{by} for attention when {impossible} as planted_dead"], Planted(
            "dead", "LZ511", "planted_dead"
        )

    def shadowed(self) -> tuple[list[str], Planted]:
        pick = self.random
        kernel = pick.choice(KERNELS)
        cut = pick.randint(40, 120)
        first, second = pick.choice(
            (
                (f"batch <= {cut}", f"batch >= {cut - pick.randint(0, 5)}"),
                ("heads < kv_heads", "heads >= kv_heads"),
                ("head_dim % 8 == 0", "head_dim % 8 != 0"),
                (f"batch <= {cut} and head_dim > 16", f"batch > {cut} or head_dim <= 16"),
            )
        )
        inner = pick.choice((f"batch in {cut - 20}..{cut + 20}", "heads > 4", f"head_dim % 4 == 0 and batch > {cut}"))
        kind = pick.choice(("deny", "quarantine"))
        return [
            f"{kind} {kernel} for attention when {first} as cover_low",
            f"{kind} {kernel} for attention when {second} as cover_high",
            f"{kind} {kernel} for attention when {inner} as planted_shadowed",
        ], Planted("shadowed", "LZ512", "planted_shadowed")

    def impossible(self) -> tuple[list[str], Planted]:
        kernel = self.random.choice(sorted(BARRED))
        where = self.random.choice(BARRED[kernel])
        return [f"lock {kernel} for attention when {where} priority 9 as planted_impossible"], Planted(
            "impossible lock", "LZ403", "planted_impossible"
        )

    def conflict(self) -> tuple[list[str], Planted]:
        one, other = self.random.sample(KERNELS, 2)
        a, b = self.random.choice(
            (
                ("batch >= 100", "head_dim % 16 == 0"),
                ("heads > kv_heads", "heads % kv_heads == 0 and batch > 7"),
                ("batch in 10..40", "batch in 40..90"),
                ("head_dim % 8 == 4", "head_dim % 12 == 4 and heads == kv_heads"),
            )
        )
        return [
            f"lock {one} for attention when {a} priority 5 else choose as planted_one",
            f"lock {other} for attention when {b} priority 5 else choose as planted_other",
        ], Planted("conflict", "LZ401", "planted_other")


# ---------------------------------------------------------------- counting


def run(policies: int, seed: int = 0, samples: int = 40, first: int = 0) -> Iterator[Tally]:
    """One tally a policy."""
    for index in range(first, policies):
        yield one_policy(index, seed, samples)


def one_policy(index: int, seed: int, samples: int) -> Tally:
    tally = Tally()
    random = Random(f"{seed}/{index}")
    text, planted = Writer(random).policy()
    try:
        program = program_from_text(text, prelude=False)
    except PolicyError as error:
        raise SystemExit(f"policy {index} is not one: {error}") from None
    found = study(program, TODAY)
    locks = sum(rule.kind == "lock" for rule in program.rules)
    tally.questions += 3 * len(program.rules) + 4 * locks + len(program.kernels)
    tally.doubts += [f"policy {index}: {doubt.check}: {doubt.subject}: {doubt.reason}" for doubt in found.doubts]
    for one in planted:
        tally.planted[one.fault] += 1
        if any(finding.code == one.code and f"`{one.rule}`" in finding.message for finding in found.findings):
            tally.found[one.fault] += 1
        else:
            line = next(line for line in text.splitlines() if line.endswith(f"as {one.rule}"))
            tally.misses.append(f"policy {index}, {one.fault} missed: {line}")
    _sample(program, found.findings, random, samples, tally, index)
    return tally


def _sample(
    program: Program, findings: Sequence[Diagnostic], random: Random, samples: int, tally: Tally, index: int
) -> None:
    """Every claim about never and always against decisions."""
    contexts = [_context(random) for _ in range(samples)]
    proofs = [_decided(program, values) for values in contexts]
    for rule in program.rules:
        said = {finding.code for finding in findings if finding.span == rule.span}
        if "LZ511" in said:
            tally.claims += 1
            if any(one.applied and one.rule is rule for proof in proofs for one in proof.rules):
                tally.unsound.append(f"policy {index}: `{rule.name}` applies")
        if said & {"LZ512", "LZ514"}:
            tally.claims += 1
            tally.unsound += [f"policy {index}: `{rule.name}` changes {values}" for values in _changed(
                program, rule, contexts, proofs)]  # fmt: skip
    for finding in findings:
        if finding.code == "LZ515":
            tally.claims += 1
            kernel = next(kernel for kernel in program.kernels if f"`{kernel}` can never win" in finding.message)
            if any(proof.kernel == kernel for proof in proofs):
                tally.unsound.append(f"policy {index}: `{kernel}` wins")


def _changed(
    program: Program, rule: Rule, contexts: Sequence[dict[str, Value]], proofs: Sequence[Proof]
) -> Iterator[dict[str, Value]]:
    less = replace(program, rules=tuple(other for other in program.rules if other is not rule))
    for values, before in zip(contexts, proofs, strict=True):
        after = _decided(less, values)
        if (before.kernel, before.degraded, before.error is None) != (
            after.kernel,
            after.degraded,
            after.error is None,
        ):
            yield values


def _decided(program: Program, values: dict[str, Value]) -> Proof:
    return decide(program, Environment(assume_packages=True, today=TODAY), Scope("attention"), values)


def _context(random: Random) -> dict[str, Value]:
    values: dict[str, Value] = {
        "batch": random.choice((1, 7, 8, 40, 41, 64, 65, 100, random.randint(1, 512))),
        "heads": random.choice((1, 2, 8, 16, 32, 127, random.randint(1, 128))),
        "kv_heads": random.choice((1, 2, 8, 16, 32, random.randint(1, 128))),
        "head_dim": random.choice((8, 12, 16, 64, 128, 200, 256, random.randint(8, 256))),
        "dtype": random.choice(("fp16", "bf16", "fp32", "fp8")),
    }
    if random.random() < 0.8:
        values["sm"] = random.choice((75, 80, 89, 90, 100, 120))
    if random.random() < 0.4:
        values["tenant"] = random.choice(("bank", "shop"))
    if random.random() < 0.4:
        values["paged"] = random.random() < 0.5
    return values


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="leave out the policies before this one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=40, help="contexts that each claim is sampled in")
    args = parser.parse_args(arguments)
    start = time.process_time()
    tally = Tally()
    for done, one in enumerate(run(args.policies, args.seed, args.samples, args.first), args.first + 1):
        tally.add(one)
        for line in (*one.misses, *one.doubts, *one.unsound):
            print(line)
        if done % 10 == 0:
            print(
                f"{done} policies: {tally.share:.1%} found, {tally.unknown:.2%} not decided, "
                f"{len(tally.unsound)} unsound of {tally.claims}, {time.process_time() - start:.0f} s",
                flush=True,
            )
    for fault, count in tally.planted.items():
        print(f"{fault:16} {tally.found[fault]} of {count} found")
    print(f"{'all':16} {tally.share:.1%} of {sum(tally.planted.values())}")
    print(f"not decided      {tally.unknown:.2%} of {tally.questions} questions")
    print(f"unsound          {len(tally.unsound)} of {tally.claims} claims, {args.samples} contexts each")
    print(f"processor time   {time.process_time() - start:.1f} s")
    return int(tally.share < 0.95 or bool(tally.unsound) or tally.unknown > 0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
