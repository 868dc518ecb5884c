"""Interleaving, repeats, kernels that raise; and calls made of fields."""

from __future__ import annotations

import time

import pytest
import torch

from layerzero.check import load_text, require
from layerzero.errors import ArgumentError
from layerzero.perf.arguments import make_call
from layerzero.perf.database import Database, Key, MachineInfo
from layerzero.perf.grids import GRIDS, Grid
from layerzero.perf.measure import CpuClock, CudaClock, CudaGraphClock, DeviceLostError, Failed, Timing, Watch, measure
from layerzero.perf.plain_torch import plain
from layerzero.perf.survey import Noted
from layerzero.semantics.context import read_context

CPU = torch.device("cpu")
SHIPPED = require(load_text(""))


def test_calls_are_made_in_turn_and_the_slow_one_seldom():
    made: list[str] = []

    def call(name: str, seconds: float):
        def run() -> None:
            made.append(name)
            time.sleep(seconds)

        return run

    found = measure({"a": call("a", 0.001), "b": call("b", 0.001), "c": call("c", 0.1)}, CpuClock(), repeats=5, laps=1)
    warm, rounds = made[:6], made[6:]
    assert warm == ["a", "a", "b", "b", "c", "c"]
    assert rounds == ["a", "b", "c"] + ["b", "a", "a", "b"] * 2
    assert {name: timing.repeats for name, timing in found.items() if isinstance(timing, Timing)} == {
        "a": 5,
        "b": 5,
        "c": 1,
    }
    assert found["c"].median_us > 10 * found["a"].median_us


def test_one_that_raises_is_named_and_the_others_go_on():
    def broken() -> None:
        raise ValueError("head_dim 7\nand much more")

    late = iter([None, None, None])

    def breaks_later() -> None:
        next(late)

    found = measure({"x": broken, "y": lambda: None, "z": breaks_later}, CpuClock(), repeats=5, laps=1)
    assert found["x"] == Failed("ValueError: head_dim 7")
    assert found["z"] == Failed("StopIteration")
    assert isinstance(found["y"], Timing) and list(found) == ["x", "y", "z"]


def test_a_lost_device_ends_the_measurement_and_names_the_kernel():
    class Losing(CpuClock):
        def check(self) -> None:
            raise DeviceLostError("gone")

    class Heard(Watch):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def starting(self, name: str) -> None:
            self.heard.append(f"starting {name}")

        def started(self, name: str) -> None:
            self.heard.append(f"started {name}")

        def lost(self, name: str, failed: Failed) -> None:
            self.heard.append(f"lost {name}: {failed.text}")

    def broken() -> None:
        raise RuntimeError("illegal memory access")

    watch = Heard()
    with pytest.raises(DeviceLostError):
        measure({"a": lambda: None, "b": broken, "c": lambda: None}, Losing(), watch=watch)
    lost = "lost b: RuntimeError: illegal memory access"
    assert watch.heard == ["starting a", "started a", "starting b", lost]


def test_an_interrupted_call_is_not_held_against_its_kernel(tmp_path):
    def interrupted() -> None:
        raise KeyboardInterrupt

    key = Key("op", {"n": 1})
    with Database(tmp_path / "m.sqlite", MachineInfo({"device": "cpu"}, {})) as database:
        with pytest.raises(KeyboardInterrupt):
            measure({"a.op": interrupted}, CpuClock(), watch=Noted(database, key))
        database._connection.execute("update measurement set process = 1 << 30")  # as if this process were gone
        assert database.find(key) == {}


def calls_of(grid: Grid):
    for place in grid.places():
        scope, values = read_context(SHIPPED, {**grid.fields(place), "operation": grid.operation})
        yield make_call(SHIPPED, scope, values, CPU)


@pytest.mark.parametrize("grid", GRIDS["small"](), ids=lambda grid: grid.name)
def test_the_plain_expression_answers_as_the_reference(grid):
    from layerzero.backends import reference

    for call in calls_of(grid.on({"device": "cpu"}, (False,))):
        usual = plain(call)
        assert usual is not None
        expected = getattr(reference, call.operation)(*call.args, **call.kwargs)
        got = usual().transpose(1, 2) if call.operation == "attention" else usual()
        assert torch.allclose(got, expected, atol=1e-4)


def test_a_paged_call_and_its_plain_expression():
    from layerzero.backends import reference

    given = {"device": "cpu", "dtype": "fp32", "batch": 2, "q_len": 1, "kv_len": 64, "q_heads": 4, "kv_heads": 2}
    given |= {"head_dim": 32, "causal": True, "paged": True, "page_size": 16, "has_seq_lens": True}
    scope, values = read_context(SHIPPED, {**given, "operation": "attention.decode"})
    call = make_call(SHIPPED, scope, values, CPU)
    usual = plain(call)
    assert usual is not None and call.kwargs["page_table"].flatten().tolist() != list(range(8)), "pages are shuffled"
    expected = reference.attention(*call.args, **call.kwargs)
    assert torch.allclose(usual().transpose(1, 2), expected, atol=1e-4)


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_describes_calls_that_can_be_made(name):
    for grid in GRIDS[name]():
        scope, values = read_context(SHIPPED, {**grid.fields(next(grid.places())), "operation": grid.operation})
        call = make_call(SHIPPED, scope, values | {"device": "cpu"}, CPU)
        assert call.operation == scope.operation


def test_a_field_that_the_tensors_would_not_have_is_an_error():
    given = {"device": "cpu", "dtype": "fp32", "rows": 4, "hidden_size": 64, "packed": True, "contiguous": True}
    scope, values = read_context(SHIPPED, {"operation": "swiglu", **given})
    with pytest.raises(ArgumentError, match="contiguous = True is known to be made: it has False"):
        make_call(SHIPPED, scope, values, CPU)
    scope, values = read_context(SHIPPED, {"operation": "tokenize", "tokenizer_id": "gpt2"})
    with pytest.raises(ArgumentError, match="`tokenize` cannot be measured"):
        make_call(SHIPPED, scope, values, CPU)


@pytest.mark.gpu
def test_the_gpu_clocks_tell_a_long_kernel_from_a_short_one():
    device = torch.device("cuda", 0)
    long, short = (torch.randn(size, size, device=device) for size in (4096, 64))
    calls = {"long": lambda: long @ long, "short": lambda: short @ short}
    for clock in (CudaClock(device), CudaGraphClock(device)):
        found = measure(calls, clock)
        assert found["long"].device_us > 5 * found["short"].device_us
