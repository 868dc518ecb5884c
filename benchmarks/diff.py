"""How long does `lz diff` take for two 200-rule policies that differ in one rule?

    python benchmarks/diff.py                      # ten random policies, one edited rule each
    python benchmarks/diff.py --rules 50 --seeds 3

Policies are of 20 kernels that overlap a lot, with denies, quarantines, boosts and locks whose conditions read one to
three of ten tests; one rule gets a further condition. `cpu` is the processor time of the comparison; on a busy machine
it tells more than `wall`.
"""

from __future__ import annotations

import argparse
import time
from datetime import date
from random import Random

from layerzero.analysis.difference import Side, difference
from layerzero.check import program_from_text
from layerzero.semantics.environment import Environment

WORDS = """policy "random" standalone
field sm: int in 10..999
field dtype: enum(fp32, fp16, bf16, fp8)
field head_dim: int in 1..1024
field batch: int in 1..65536
field q_len: int in 1..1Mi
field kv_len: int in 1..1Mi
field q_heads: int in 1..512
field kv_heads: int in 1..512
field tenant: string
operation attention {
  needs sm, dtype, head_dim, batch, q_len, kv_len, q_heads, kv_heads  optional tenant
  view decode when q_len == 1  fallback plain.all
}
kernel plain.all for attention { priority 1 }
"""
TESTS = (
    "sm >= {sm}", "head_dim <= {head}", "batch > {batch}", "kv_len >= {kv}", "dtype in {{fp16, bf16}}", "dtype == fp8",
    "sm in {sm}..{top}", "q_len * (q_heads // kv_heads) <= 16", "head_dim % 8 == 0", 'has(tenant) and tenant == "t{t}"',
)  # fmt: skip


def policies(seed: int, rules: int) -> tuple[str, str]:
    """A policy, and the same with one rule edited."""
    random = Random(seed)
    kernels = [f"backend_{index % 5}.kernel_{index}" for index in range(20)]
    lines = [WORDS]
    for index, kernel in enumerate(kernels):
        needs = f"require sm >= {random.choice([70, 80, 90, 100])}  require head_dim % {random.choice([8, 16])} == 0"
        lines.append(
            f"kernel {kernel} for attention {{ priority {30 + index}  {needs}  require q_heads % kv_heads == 0 }}"
        )
    edited = list(lines)
    chosen = random.randrange(rules)
    for index in range(rules):
        kind = random.choice(["deny", "deny", "boost", "boost", "boost", "lock", "quarantine"])
        condition = " and ".join(_test(random, text) for text in random.sample(TESTS, random.randint(1, 3)))
        factor = f" by {random.choice([0.5, 1.1, 1.5, 2, 3])}" if kind == "boost" else ""
        end = f" priority {index} else choose" if kind == "lock" else ""
        scope = random.choice(["attention", "attention.decode"])
        rule = f"{kind} {random.choice(kernels)}{factor} for {scope} when {condition}"
        lines.append(f"{rule} as rule_{index}{end}")
        more = " and batch <= 1000" if index == chosen else ""
        edited.append(f"{rule}{more} as rule_{index}{end}")
    return "\n".join(lines), "\n".join(edited)


def _test(random: Random, text: str) -> str:
    return text.format(
        sm=random.choice([75, 80, 86, 90, 100]),
        head=random.choice([64, 128, 192, 256]),
        batch=random.choice([4, 8, 32, 128]),
        kv=random.choice([1024, 4096, 8192, 65536]),
        top=random.choice([103, 120]),
        t=random.randrange(5),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS")
    args = parser.parse_args()
    environment = Environment(assume_packages=True, call_kernels=False, today=date(2026, 6, 1))
    print("seed    cpu s   wall s  changes  unexamined")
    for seed in range(args.seeds):
        old, new = (Side(program_from_text(text, prelude=False), environment) for text in policies(seed, args.rules))
        cpu, wall = time.process_time(), time.perf_counter()
        end = wall + args.budget
        found = difference(old, new, stop=lambda end=end: time.perf_counter() > end)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"{seed:4} {cpu:8.2f} {wall:8.2f} {len(found.changes):8} {len(found.unexamined):11}", flush=True)


if __name__ == "__main__":
    main()
