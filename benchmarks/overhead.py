"""What does each public call cost on top of its kernel, and beside the same in plain torch?

    python benchmarks/overhead.py            # a table, half a minute
    python benchmarks/overhead.py --write    # and into docs/benchmarks.md
    python benchmarks/overhead.py --json

On top of the kernel: the call to a kernel that does nothing, less that kernel, in empty calls of the same run.
Beside torch: the call with the kernel that the shipped policy chooses on a CPU, over what one would write without
LayerZero. The tensors are small on purpose: the way to the kernel does not grow with them. Gradients are off, as in
inference.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

import torch  # noqa: E402 -- the line above is what makes the checkout importable
from torch.nn import functional  # noqa: E402

import layerzero as lz  # noqa: E402
from benchmarks.peers.measure import Case, Timing, measure  # noqa: E402
from benchmarks.peers.report import replace_section, table  # noqa: E402
from layerzero import api  # noqa: E402

UNIT = "an empty Python call of 4 arguments"
Call = Callable[[], object]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("layerzero").setLevel(logging.CRITICAL)
    with torch.no_grad():
        rows = measured()
    if options.json:
        print(json.dumps(rows))
        return 0
    text = as_table(rows)
    print(text)
    if options.write:
        about = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}."
        replace_section(ROOT / "docs" / "benchmarks.md", "overhead", f"{about}\n\n{text}")
    return 0


def calls() -> dict[str, tuple[Call, Call | None]]:
    """What is called -> the call, and the same without LayerZero (None where torch has no such function)."""
    x, weight, matrix = torch.randn(1, 1, 64), torch.randn(64), torch.randn(64, 64)
    heads, cos, logits = torch.randn(1, 1, 4, 16), torch.randn(1, 8), torch.randn(1, 100)
    q, k = torch.randn(1, 1, 8, 64), torch.randn(1, 64, 2, 64)
    cache, lengths = torch.randn(4, 16, 2, 64), torch.tensor([60], dtype=torch.int32)
    pages = torch.arange(4, dtype=torch.int32)[None]
    swapped = [one.transpose(1, 2) for one in (q, k)]

    def sdpa(**given: Any) -> object:
        query, key = swapped
        return functional.scaled_dot_product_attention(query, key, key, enable_gqa=True, **given)

    images = torch.randn(1, 8, 4)
    return {
        "attention": (lambda: lz.attention(q, k, k, is_causal=True), sdpa),
        "attention, scale": (lambda: lz.attention(q, k, k, scale=0.1), partial(sdpa, scale=0.1)),
        "paged_attention": (lambda: lz.paged_attention(q, cache, cache, pages, lengths), None),
        "rms_norm": (lambda: lz.rms_norm(x, weight), lambda: functional.rms_norm(x, (64,), weight, 1e-6)),
        "rms_norm, residual": (lambda: lz.rms_norm(x, weight, residual=x), None),
        "layer_norm": (
            lambda: lz.layer_norm(x, weight, weight),
            lambda: functional.layer_norm(x, (64,), weight, weight),
        ),
        "group_norm": (lambda: lz.group_norm(images, 2), lambda: functional.group_norm(images, 2)),
        "rope": (lambda: lz.rope(heads, cos, cos), None),
        "swiglu": (lambda: lz.swiglu(x, x), lambda: functional.silu(x) * x),
        "gelu": (lambda: lz.gelu(x), lambda: functional.gelu(x)),
        "silu": (lambda: lz.silu(x), lambda: functional.silu(x)),
        "linear": (lambda: lz.linear(x, matrix), lambda: functional.linear(x, matrix)),
        "sample_greedy": (lambda: lz.sample_greedy(logits), lambda: logits.argmax(-1)),
        "sample_topk": (lambda: lz.sample_topk(logits, k=10), None),
    }


def measured() -> list[dict[str, Any]]:
    found = calls()
    real = {name: case(call) for name, (call, _) in found.items()}
    torch_own = {f"torch {name}": case(own) for name, (_, own) in found.items() if own is not None}
    with_kernels = measure(real | torch_own, 5)
    api._machine.registered.update(dict.fromkeys((one.id for one in lz.list_kernels()), nothing))
    api._engine.refresh()
    empty = {
        UNIT: case(lambda: four(1, 2, 3, is_causal=True)),
        "the kernel": case(lambda: nothing(1, 2, 3, is_causal=True)),
    }
    bare = measure({**empty, **real}, 5)
    with lz.context(request_id="a request", layer=3):
        around = measure({**empty, **real}, 5)
    unit, kernel = bare[UNIT].p50, bare["the kernel"].p50
    return [
        {
            "call": name,
            "over_kernel_ns": bare[name].p50 - kernel,
            "empty_calls": (bare[name].p50 - kernel) / unit,
            "in_context_empty_calls": (around[name].p50 - around["the kernel"].p50) / around[UNIT].p50,
            "call_us": with_kernels[name].p50 / 1000,
            "torch_us": us(with_kernels.get(f"torch {name}")),
        }
        for name in found
    ]


def four(q: Any, k: Any, v: Any, is_causal: bool) -> None:
    return None


def nothing(*args: Any, **kwargs: Any) -> None:
    return None


def us(timing: Timing | None) -> float | None:
    return None if timing is None else timing.p50 / 1000


def case(function: Call) -> Case:
    return Case(lambda _: function(), (None,) * 400)


def as_table(rows: list[dict[str, Any]]) -> str:
    head = (
        "call",
        "over its kernel, ns",
        "empty calls",
        "in `lz.context`",
        "with its kernel, us",
        "plain torch, us",
        "ratio",
    )
    body = []
    for row in rows:
        own = row["torch_us"]
        body.append(
            (
                row["call"],
                f"{row['over_kernel_ns']:.0f}",
                f"{row['empty_calls']:.1f}",
                f"{row['in_context_empty_calls']:.1f}",
                f"{row['call_us']:.1f}",
                "-" if own is None else f"{own:.1f}",
                "-" if own is None else f"{row['call_us'] / own:.2f}",
            )
        )
    return table(head, body)


if __name__ == "__main__":
    sys.exit(main())
