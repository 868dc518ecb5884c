"""The error of every kernel against fp64, next to that of the plain torch expression.

    python benchmarks/gpu/accuracy.py                # every kernel that runs here, one call for each operation
    python benchmarks/gpu/accuracy.py --graph        # and the same call recorded into a CUDA graph and replayed

The definition is computed in fp64 from the same 16-bit inputs. `max error` is the largest absolute difference,
`relative` the norm of the difference over the norm of the definition.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from layerzero.backends import reference
from layerzero.backends.machine import ThisMachine
from layerzero.check import load_text, require
from layerzero.check.expressions import Value
from layerzero.operations.call import Call
from layerzero.operations.device import device_fields, present_devices
from layerzero.perf.arguments import make_call
from layerzero.perf.here import device_named
from layerzero.perf.measure import said
from layerzero.perf.plain_torch import plain
from layerzero.perf.survey import BASELINE, feasible
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.context import read_context
from layerzero.semantics.interpret import decide

FAR = 2e-2  # a relative error that no rounding of 16-bit numbers explains
HEADS = {"q_heads": 32, "kv_heads": 8, "head_dim": 128, "causal": True}
PAGES = {**HEADS, "paged": True, "page_size": 16, "has_seq_lens": True, "q_len": 1}
CALLS: tuple[tuple[str, Mapping[str, Value]], ...] = (
    ("attention.prefill", {**HEADS, "batch": 1, "q_len": 512, "kv_len": 512}),
    ("attention.prefill", {**HEADS, "batch": 2, "q_len": 512, "kv_len": 512}),
    ("attention.decode", {**HEADS, "batch": 1, "q_len": 1, "kv_len": 4096}),
    ("attention.decode", {**HEADS, "batch": 8, "q_len": 1, "kv_len": 4096}),
    ("attention.decode", {**PAGES, "batch": 8, "kv_len": 4096}),
    ("rms_norm", {"rows": 64, "hidden_size": 4096}),
    ("rms_norm", {"rows": 64, "hidden_size": 4096, "has_residual": True}),
    ("layer_norm", {"rows": 64, "hidden_size": 4096, "has_bias": True}),
    ("layer_norm", {"rows": 64, "hidden_size": 4096, "has_bias": True, "weight_dtype": "fp32"}),
    ("rope", {"batch": 1, "q_len": 64, "q_heads": 32, "head_dim": 128}),
    ("swiglu", {"rows": 64, "hidden_size": 14336}),
    ("swiglu", {"rows": 64, "hidden_size": 14336, "packed": True, "contiguous": False}),
    ("gelu", {"rows": 64, "hidden_size": 14336}),
    ("silu", {"rows": 64, "hidden_size": 14336}),
)
DRAWS = (
    ("sample.topk", {"batch": 8, "vocab": 128256, "top_k": 50}),
    ("sample.topp", {"batch": 8, "vocab": 128256, "top_p": 0.9}),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graph", action="store_true", help="also in a CUDA graph")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--on", metavar="DEVICE")
    parser.add_argument("--skip", action="append", default=[], metavar="GLOB")
    args = parser.parse_args()
    device = device_named(args.on)
    loaded, machine = require(load_text("", name="<shipped>")), ThisMachine(present_devices)
    environment = machine.environment(Vocabulary.of(loaded), datetime.now(UTC).date())
    for kernel, why in sorted(environment.no_adapter.items()):
        if not why.startswith("no adapter"):
            print(f"{kernel} cannot be called: {why}")
    print("| call | kernel | max error | relative | first call, ms | in a CUDA graph |")
    print("| --- | --- | ---: | ---: | ---: | --- |")
    bad = 0
    with torch.inference_mode():
        for operation, given in (*CALLS, *DRAWS):
            fields = {**device_fields(device), "dtype": args.dtype, **given, "operation": operation}
            scope, values = read_context(loaded, fields)
            call = make_call(loaded, scope, values, device)
            expected = None if operation.startswith("sample") else wide(call)
            proof = decide(loaded, environment, scope, values)
            kernels: dict[str, Callable[[], Any] | None] = {
                name: bound(machine, name, loaded.kernels[name].adapter, call)
                for name in feasible(proof)
                if loaded.kernels[name].adapter is not None and not any(fnmatchcase(name, glob) for glob in args.skip)
            }
            kernels[BASELINE] = plain(call)
            shown = ", ".join(f"{name} {value}" for name, value in given.items() if name not in HEADS)
            for name, run in kernels.items():
                if run is not None:
                    safe = name == BASELINE or loaded.kernels[name].attributes.get("graph_safe") is True
                    line, good = tried(name, run, expected, call, args.graph and safe and device.type == "cuda")
                    bad += not good
                    print(f"| {operation}: {shown} | {name} | {line} |", flush=True)
    print(f"{bad} that raised or are wrong")
    return int(bad > 0)


def bound(machine: ThisMachine, name: str, path: str | None, call: Call) -> Callable[[], Any]:
    adapter = machine.adapter(name, path)
    return lambda: adapter(*call.args, **call.kwargs)


def wide(call: Call) -> Tensor:
    """The definition in fp64."""

    def doubled(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    function = getattr(reference, call.operation)
    return first(function(*map(doubled, call.args), **{name: doubled(value) for name, value in call.kwargs.items()}))


def first(answer: Any) -> Tensor:
    found: Tensor = answer[0] if isinstance(answer, tuple) else answer
    return found


def tried(name: str, run: Callable[[], Any], expected: Tensor | None, call: Call, graph: bool) -> tuple[str, bool]:
    """The cells of a row, and whether all is well."""
    try:
        started = time.perf_counter()
        answer = aligned(name, first(run()), expected)
        worst, norm = errors(answer, expected, call)
        took = (time.perf_counter() - started) * 1e3
        replayed = replay(name, run, expected, call) if graph else "-"
    except Exception as error:  # noqa: BLE001 - the text is the row
        return f"failed: {said(error)} | | | ", False
    shown = ["" if number is None else f"{number:.2e}" for number in (worst, norm)]
    return " | ".join((*shown, f"{took:.0f}", replayed)), norm is None or norm < FAR


def aligned(name: str, answer: Tensor, expected: Tensor | None) -> Tensor:
    """torch's attention answers with the heads first."""
    transposed = expected is not None and name == BASELINE and answer.ndim == 4 and answer.shape != expected.shape
    return answer.transpose(1, 2) if transposed else answer


def errors(answer: Tensor, expected: Tensor | None, call: Call) -> tuple[float | None, float | None]:
    if expected is None:
        vocab = call.args[0].shape[-1]
        assert int(answer.min()) >= 0 and int(answer.max()) < vocab, f"tokens outside 0..{vocab - 1}"
        return None, None
    assert answer.shape == expected.shape, f"shape {list(answer.shape)}, expected {list(expected.shape)}"
    difference = answer.double() - expected
    return float(difference.abs().max()), float(difference.norm() / expected.norm())


def replay(name: str, run: Callable[[], Any], expected: Tensor | None, call: Call) -> str:
    """Whether the recorded call is right when it is replayed."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = first(run())
    kept.zero_()
    graph.replay()
    torch.cuda.synchronize()
    _, norm = errors(aligned(name, kept, expected), expected, call)
    if norm is not None and norm >= FAR:
        raise ArithmeticError(f"replayed, it is off by {norm:.1e}")
    return "right" if norm is not None else "runs"


if __name__ == "__main__":
    sys.exit(main())
