"""Do the policies in policies/examples choose as the programs that they describe?

    python benchmarks/selectors/run.py vllm          # or sglang, torch_sdpa; downloads the released wheel once
    python benchmarks/selectors/run.py vllm --rows 100000 --seed 7

Random contexts are put to the program's own code and to the policy; the command ends with 1 where one row differs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

from benchmarks.selectors.compare import differences  # noqa: E402 -- the line above is what makes it importable

SELECTORS = ("vllm", "sglang", "torch_sdpa")
_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("selector", choices=SELECTORS)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="write the contexts with the program's answers, a JSON line each")
    options = parser.parse_args()
    selector = importlib.import_module(f"benchmarks.selectors.{options.selector}")
    rng = random.Random(options.seed)
    contexts = [selector.draw(rng) for _ in range(options.rows)]
    answer = selector.ask()
    wanted = [answer(context) for context in contexts]
    if options.record is not None:
        lines = (json.dumps({"kernel": kernel, **row}) for row, kernel in zip(contexts, wanted, strict=True))
        options.record.write_text("\n".join(lines) + "\n", encoding="utf-8")
    different = differences(options.selector, contexts, wanted)
    for kernel, count in Counter(wanted).most_common():
        print(f"{kernel or '(none)':36} {count:8}")
    print(f"{len(wanted)} contexts, seed {options.seed}: {len(wanted) - len(different)} agree, {len(different)} differ")
    for context, want, got in different[:_SHOWN]:
        print(f"  wanted {want}, got {got}: {json.dumps(context)}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
