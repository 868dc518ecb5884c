"""Tokens a second of a Llama-shaped model of 8 billion parameters: LayerZero, plain torch, one backend alone.

    python benchmarks/gpu/end_to_end.py                       # the shipped policy
    python benchmarks/gpu/end_to_end.py --policy tuned.lzp    # with rules of `lz tune` beside it
    python benchmarks/gpu/end_to_end.py --device cpu --tiny   # tries the program itself

Prefill of one prompt; one decoding step at a full cache, contiguous and in pages, eager and in a CUDA graph. The sets
are measured in turn, round by round; each figure is the median. All sets share the weights and torch's matrix products.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from model import Cache, Calls, LayerZeroCalls, Model, Shape, TorchCalls
from torch import Tensor

import layerzero as lz
from layerzero.dispatch.trace import trace
from layerzero.perf.measure import said

TINY = Shape(layers=2, hidden=64, q_heads=4, kv_heads=2, head_dim=16, intermediate=128, vocab=100)
BACKENDS = ("flashinfer", "sgl_kernel", "flash_attn", "liger", "quack")
PAGE = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy model, to try the program")
    parser.add_argument("--layers", type=int, default=32, help="fewer, to try the program on a GPU")
    parser.add_argument("--policy", action="append", default=[], metavar="FILE", help="LayerZero with these rules, too")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no further case after that time")
    parser.add_argument("--json", type=Path, help="write the figures here, as they come")
    args = parser.parse_args()
    started = time.monotonic()
    shape = TINY if args.tiny else Shape(layers=args.layers)
    model = Model(shape, args.device, torch.float32 if args.device == "cpu" else torch.bfloat16)
    sets = contenders(args.policy)
    rows: list[dict[str, object]] = []
    with torch.inference_mode():
        for case in cases(model, args.tiny, args.device):
            if time.monotonic() - started > args.seconds:
                print(f"not run, no time left: {case.name}")
                continue
            rows += case.measure(sets, args.repeats, args.device)
            if args.json is not None:
                args.json.write_text(json.dumps({"parameters": shape.parameters, "rows": rows}, indent=1))
    print(f"{shape.parameters / 1e9:.2f} billion parameters, {device_name(args.device)}, torch {torch.__version__}")
    print("\n".join(table(rows)))


Contender = tuple[Calls, Callable[[], AbstractContextManager[object]]]


def contenders(policies: list[str]) -> dict[str, Contender]:
    """Plain torch, LayerZero by its shipped policy and by others, and each backend wherever it can serve."""
    found: dict[str, Contender] = {
        "plain torch": (TorchCalls(), nullcontext),
        "LayerZero": (LayerZeroCalls(), nullcontext),
    }
    for path in policies:
        policy = lz.Policy.load(path)
        found[f"LayerZero, {Path(path).name}"] = (LayerZeroCalls(), lambda policy=policy: lz.using(policy))
    here = {kernel.id.partition(".")[0] for kernel in lz.list_kernels() if kernel.available}
    for backend in (name for name in BACKENDS if name in here):
        policy = lz.Policy.from_text(f'policy "{backend} alone"\nboost {backend}.* by 1000 as alone\n')
        found[f"{backend} wherever it serves"] = (LayerZeroCalls(), lambda policy=policy: lz.using(policy))
    return found


class Case:
    """One workload, and how many tokens a run of it makes."""

    def __init__(self, name: str, tokens: int, run: Callable[[Calls], Tensor], graph: bool) -> None:
        self.name, self.tokens, self._run, self._graph = name, tokens, run, graph

    def measure(self, sets: dict[str, Contender], repeats: int, device: str) -> list[dict[str, object]]:
        """A row for each set: its median time, or why there is none."""
        ready: dict[str, Callable[[], Tensor]] = {}
        rows: dict[str, dict[str, object]] = {}
        for name, (calls, around) in sets.items():
            try:
                ready[name], kernels = self._prepared(calls, around, device)
                rows[name] = {"case": self.name, "set": name, "kernels": kernels}
            except Exception as error:  # noqa: BLE001 - a set that cannot run is a row of its own
                rows[name] = {"case": self.name, "set": name, "error": said(error)}
        self._compare(ready, rows)
        times: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(repeats):
            for name, run in ready.items():
                synchronise(device)
                started = time.perf_counter()
                run()
                synchronise(device)
                times[name].append(time.perf_counter() - started)
        for name, found in times.items():
            seconds = statistics.median(found)
            rows[name] |= {"seconds": seconds, "tokens_per_second": self.tokens / seconds}
        print(
            f"{self.name}: {', '.join(f'{name} {self.tokens / statistics.median(times[name]):.0f}' for name in ready)}"
        )
        return list(rows.values())

    def _compare(self, ready: dict[str, Callable[[], Tensor]], rows: dict[str, dict[str, object]]) -> None:
        """How far the logits are from plain torch's: ways to round differ by a percent or two, a wrong one by more."""
        logits = {name: run().float().clone() for name, run in ready.items()}
        usual = logits.get("plain torch")
        for name, found in logits.items():
            if usual is not None:
                rows[name]["difference"] = float((found - usual).norm() / usual.norm())

    def _prepared(
        self, calls: Calls, around: Callable[[], AbstractContextManager[object]], device: str
    ) -> tuple[Callable[[], Tensor], list[str]]:
        """The workload warmed up, recorded where a graph is asked for; and the kernels that LayerZero chose."""

        def run() -> Tensor:
            with around():
                return self._run(calls)

        with trace() as records:
            run()
        kernels = sorted({str(record.decision.kernel) for record in records})
        synchronise(device)
        if not self._graph:
            run()
            return run, kernels
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            run()
        synchronise(device)
        graph = torch.cuda.CUDAGraph()
        with trace() as records, torch.cuda.graph(graph):
            out = run()
        kernels = sorted({str(record.decision.kernel) for record in records})
        graph.replay()
        synchronise(device)

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay, kernels


def cases(model: Model, tiny: bool, device: str) -> list[Case]:
    """In the order of what is most worth knowing."""
    prompt, context = (64, 64) if tiny else (4096, 8192)
    generator = torch.Generator(device).manual_seed(0)

    def tokens(batch: int, length: int) -> Tensor:
        return torch.randint(model.shape.vocab, (batch, length), generator=generator, device=device)

    whole = tokens(1, prompt)
    found = [Case(f"prefill of {prompt} tokens, eager", prompt, lambda calls: model.prefill(calls, whole), False)]
    for batch in (1, 16):
        one = tokens(batch, 1)
        for paged in (True, False):
            where = "paged" if paged else "contiguous"

            def step(calls: Calls, batch: int = batch, paged: bool = paged, one: Tensor = one) -> Tensor:
                return model.decode(calls, one, cache_of(model, batch, context, paged))

            for graph in (True, False) if device != "cpu" else (False,):
                regime = "CUDA graph" if graph else "eager"
                found.append(Case(f"decode, batch {batch} at {context}, {where} cache, {regime}", batch, step, graph))
    return found


_caches: dict[tuple[int, bool], Cache] = {}


def cache_of(model: Model, batch: int, length: int, paged: bool) -> Cache:
    """One cache is kept; another takes its place."""
    if (batch, paged) not in _caches:
        _caches.clear()
        _caches[batch, paged] = Cache(model, batch, length, PAGE if paged else None)
    return _caches[batch, paged]


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def device_name(device: str) -> str:
    return "CPU" if device == "cpu" else torch.cuda.get_device_name()


def table(rows: list[dict[str, object]]) -> list[str]:
    """One line a case and set, the gain over plain torch beside it."""
    lines = [
        "| case | set | tokens/s | x plain torch | logits differ by | kernels |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    usual = {row["case"]: row.get("tokens_per_second") for row in rows if row["set"] == "plain torch"}
    for row in rows:
        rate, base = row.get("tokens_per_second"), usual.get(row["case"])
        gain = f"{rate / base:.2f}" if isinstance(rate, float) and isinstance(base, float) else "-"
        shown = f"{rate:,.0f}" if isinstance(rate, float) else f"failed: {row.get('error')}"
        kernels = ", ".join(row["kernels"]) if isinstance(row.get("kernels"), list) else ""  # type: ignore[arg-type]
        differ = f"{row['difference']:.1e}" if "difference" in row else "-"
        lines.append(f"| {row['case']} | {row['set']} | {shown} | {gain} | {differ} | {kernels} |")
    return lines


if __name__ == "__main__":
    main()
