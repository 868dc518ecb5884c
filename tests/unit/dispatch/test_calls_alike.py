"""Calls that look alike: what is remembered of the first of them is what reading the others in full would give."""

from __future__ import annotations

import gc
import inspect
import pickle
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

import layerzero as lz
from layerzero import api, native
from layerzero.errors import ArgumentError
from layerzero.operations import (
    attention,
    gelu,
    group_norm,
    layer_norm,
    linear,
    paged_attention,
    rms_norm,
    rope,
    sample,
    silu,
    swiglu,
)

pytestmark = pytest.mark.skipif(native.matcher is None, reason=f"no native matcher: {native.why_not}")

Make = Callable[..., torch.Tensor]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def int8(out: int, inputs: int, make: Make) -> lz.Int8Weight:
    return lz.Int8Weight.of(torch.ones(out, inputs))


def gptq(make: Make) -> lz.GPTQWeight:
    words = torch.zeros(2, 16, dtype=torch.int32)
    return lz.GPTQWeight(words, torch.zeros(1, 2, dtype=torch.int32), make(1, 16))


def paged(make: Make, **options: Any) -> Arguments:
    table = torch.arange(4, dtype=torch.int32).reshape(2, 2)
    return (make(2, 1, 4, 8), make(4, 4, 2, 8), make(4, 4, 2, 8), table), options


# Of each public call: its reader, and arguments made of tensors that `make` makes.
CALLS: dict[str, tuple[Any, list[Callable[[Make], Arguments]]]] = {
    "attention": (
        attention.read,
        [
            lambda make: ((make(1, 2, 4, 8), make(1, 5, 2, 8), make(1, 5, 2, 8)), {"sinks": make(4)}),
            lambda make: ((make(1, 1, 4, 8), make(1, 5, 2, 8), make(1, 5, 2, 16)), {"is_causal": True, "scale": 1}),
            lambda make: ((make(1, 4, 1, 8),) * 3, {"layout": "bhsd", "window": 2}),
            lambda make: ((make(1, 2, 2, 8),) * 3, {"attn_mask": make(1, 1, 2, 2)}),
        ],
    ),
    "paged_attention": (
        paged_attention.read,
        [
            paged,
            lambda make: paged(make, seq_lens=torch.tensor([3, 8], dtype=torch.int32)),
            lambda make: paged(make, is_causal=False, softcap=2.0),
        ],
    ),
    "rms_norm": (
        rms_norm.read,
        [
            lambda make: ((make(2, 3, 8), make(8)), {}),
            lambda make: ((make(2, 8),), {"eps": 1e-5, "residual": make(2, 8)}),
            lambda make: ((make(2, 8),), {"residual": torch.ones(2, 8), "weight": torch.ones(8)}),
        ],
    ),
    "layer_norm": (
        layer_norm.read,
        [lambda make: ((make(3, 8), make(8), make(8)), {}), lambda make: ((make(8),), {"eps": 1})],
    ),
    "group_norm": (
        group_norm.read,
        [lambda make: ((make(2, 8, 3), 2, make(8)), {}), lambda make: ((make(2, 8, 3), 4), {"eps": 1e-6})],
    ),
    "rope": (
        rope.read,
        [
            lambda make: ((make(2, 3, 4, 8), make(3, 4), make(3, 4)), {}),
            lambda make: ((make(2, 3, 4, 8), make(2, 3, 8), make(2, 3, 8)), {"interleaved": True}),
            lambda make: ((make(3, 4, 8), torch.ones(3, 2), torch.ones(3, 2)), {}),
        ],
    ),
    "swiglu": (
        swiglu.read,
        [
            lambda make: ((make(2, 8), make(2, 8)), {}),
            lambda make: (tuple(make(2, 16).chunk(2, -1)), {}),
            lambda make: (tuple(reversed(make(2, 16).chunk(2, -1))), {}),
            lambda make: (tuple(make(1, 1, 16).chunk(2, -1)), {}),
        ],
    ),
    "gelu": (gelu.read, [lambda make: ((make(2, 8),), {}), lambda make: ((make(2, 8), "tanh"), {})]),
    "silu": (silu.read, [lambda make: ((make(2, 8),), {}), lambda make: ((make(0, 8),), {})]),
    "linear": (
        linear.read,
        [
            lambda make: ((make(2, 16), make(8, 16)), {}),
            lambda make: ((make(2, 16), make(8, 16), make(8)), {}),
            lambda make: ((make(2, 16), int8(8, 16, make)), {}),
            lambda make: ((make(2, 16), int8(8, 16, make), make(8)), {}),
            lambda make: ((make(2, 16), gptq(make)), {}),
        ],
    ),
    "sample_topk": (
        sample.read_topk,
        [
            lambda make: ((make(2, 50),), {"k": 5, "temperature": 0.5}),
            lambda make: ((make(50),), {"generator": torch.Generator()}),
            lambda make: ((make(50),), {"k": 60, "temperature": 1}),
        ],
    ),
    "sample_topp": (
        sample.read_topp,
        [lambda make: ((make(2, 50),), {"p": 0.5}), lambda make: ((make(2, 50), 1), {"generator": torch.Generator()})],
    ),
    "sample_greedy": (sample.read_greedy, [lambda make: ((make(2, 50),), {})]),
}


def _rows(*sizes: int) -> torch.Tensor:
    return torch.zeros(*sizes[:-1], sizes[-1] + 1)[..., :-1]


MAKES: dict[str, Make] = {
    "plain": torch.zeros,
    "half": lambda *sizes: torch.zeros(*sizes, dtype=torch.float16),
    "bfloat": lambda *sizes: torch.zeros(*sizes, dtype=torch.bfloat16),
    "double": lambda *sizes: torch.zeros(*sizes, dtype=torch.float64),
    "odd rows": _rows,
    "misaligned": lambda *sizes: torch.zeros(torch.Size(sizes).numel() + 1)[1:].view(*sizes),
    "inner stride": lambda *sizes: torch.zeros(*sizes[:-1], 2 * sizes[-1])[..., ::2],
    "one row": lambda *sizes: torch.zeros(sizes[-1]).expand(*sizes),
    "gradient": lambda *sizes: torch.zeros(*sizes, requires_grad=True),
    "parameter": lambda *sizes: torch.nn.Parameter(torch.zeros(*sizes)),
}


@pytest.fixture(scope="module", autouse=True)
def kernels() -> Iterator[None]:
    """Each kernel returns its own name and what it was given, in place of calling anything."""
    lz.configure(None)
    before = dict(api._machine.registered)
    for one in lz.list_kernels():
        api._machine.registered[one.id] = lambda *args, name=one.id, **kwargs: (name, args, kwargs)
    api._engine.refresh()
    yield
    api._machine.registered.clear()
    api._machine.registered.update(before)
    api._engine.refresh()


@contextmanager
def state(gradients: bool, deterministic: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def same(one: Any, other: Any) -> bool:
    """Equal, and of tensors and the like the very objects; masks of fewer dimensions are made anew."""
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return one is other or (type(one) is type(other) and isinstance(one, int | float | str) and one == other)


def check(name: str, arguments: Arguments) -> None:
    """A call is served as reading it in full would serve it, and so it is told, once or twice."""
    function, (read, _), (args, kwargs) = getattr(lz, name), CALLS[name], arguments
    expected = read(*args, **kwargs)
    result = api._call(expected)
    for _ in range(2):
        assert same(function(*args, **kwargs), result), (name, result)
    with lz.trace() as records:
        assert same(function(*args, **kwargs), result)
    (record,) = records
    assert record.decision.values == expected.context
    assert record.decision == api._dispatcher.decide(record.decision.scope, expected.context)


@pytest.mark.parametrize("name", CALLS)
def test_every_way_to_lie_in_memory(name: str) -> None:
    function = getattr(lz, name)
    before = function.counts[0]
    for make in MAKES.values():
        for build in CALLS[name][1]:
            for gradients in (False, True):
                with state(gradients, False):
                    try:
                        check(name, build(make))
                    except ArgumentError as plain:  # not every dtype goes with each table
                        with pytest.raises(ArgumentError) as quick:
                            args, kwargs = build(make)
                            function(*args, **kwargs)
                        assert str(quick.value) == str(plain)
    assert function.counts[0] > before


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_read_is_missing_in_what_makes_calls_alike(seed: int) -> None:
    rng = random.Random(seed)
    name = rng.choice(list(CALLS))
    for _ in range(4):

        def make(*sizes: int) -> torch.Tensor:
            return MAKES[rng.choice(list(MAKES))](*sizes)

        with state(rng.random() < 0.5, rng.random() < 0.2):
            arguments = rng.choice(CALLS[name][1])(make)
            try:
                CALLS[name][0](*arguments[0], **arguments[1])
            except ArgumentError:
                continue
            around = rng.choice([{}, {"request_id": str(seed)}, {"layer": rng.randrange(3)}])
            check(name, arguments) if not around else check_inside(name, arguments, around)


def check_inside(name: str, arguments: Arguments, fields: dict[str, Any]) -> None:
    function, (read, _), (args, kwargs) = getattr(lz, name), CALLS[name], arguments
    with lz.context(**fields):
        expected = read(*args, **kwargs)
        result = api._call(expected)
        assert same(function(*args, **kwargs), result)
        with lz.trace() as records:
            function(*args, **kwargs)
    assert records[0].decision.values == {**fields, **expected.context}


def test_neighbours_in_memory_are_no_halves() -> None:
    whole = torch.zeros(1, 16)
    gate, up = whole.chunk(2, -1)
    other = torch.empty(0).set_(torch.UntypedStorage(32), 0, (1, 8))  # type: ignore[call-overload]
    for pair in ((gate, up), (gate, other), (up, gate), (gate, gate)):
        check("swiglu", (pair, {}))


def test_the_values_of_a_page_table_are_looked_at_in_every_call() -> None:
    args, _ = paged(torch.zeros)
    lengths = torch.tensor([3, 8], dtype=torch.int32)
    for _ in range(3):
        lz.paged_attention(*args, seq_lens=lengths)
    lengths[1] = 9
    with pytest.raises(ArgumentError, match="seq_lens"):
        lz.paged_attention(*args, seq_lens=lengths)
    args[3][0, 0] = 4
    with pytest.raises(ArgumentError, match="page_table"):
        lz.paged_attention(*args)


def test_wrong_calls_are_wrong_again() -> None:
    x, weight = torch.zeros(2, 8), torch.zeros(8)
    for _ in range(2):
        lz.rms_norm(x, weight)
        with pytest.raises(TypeError, match=r"rms_norm\(\) missing 1 required positional argument: 'x'"):
            lz.rms_norm(weight=weight)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="got multiple values for argument 'x'"):
            lz.rms_norm(x, x=x)  # type: ignore[misc]
        with pytest.raises(TypeError, match="unexpected keyword argument 'wieght'"):
            lz.rms_norm(x, wieght=weight)  # type: ignore[call-arg]
        for wrong in (weight[:7], weight.int(), weight.to_sparse(), "weight", 3):
            with pytest.raises(ArgumentError, match="weight"):
                lz.rms_norm(x, wrong)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="eps"):
            lz.rms_norm(x, weight, eps=-1.0)


def test_a_keyword_that_is_no_constant_of_the_program_counts() -> None:
    x = torch.zeros(2, 8)
    name = "".join(["ep", "s"])
    assert lz.rms_norm(x, **{name: 1e-4}) == lz.rms_norm(x, eps=1e-4)


def test_a_call_that_no_kernel_serves_says_so_each_time() -> None:
    x = torch.zeros(2, 8)
    with lz.using(lz.Policy.from_text('policy "none"\ndeny * for silu because "closed"')):
        for _ in range(3):
            with pytest.raises(lz.NoKernelError, match="silu"):
                lz.silu(x)
    lz.silu(x)


def test_a_swap_forgets() -> None:
    x = torch.zeros(2, 8)
    chosen = lz.silu(x)[0]
    with lz.disabled(str(chosen)):
        assert lz.silu(x)[0] != chosen
    assert lz.silu(x)[0] == chosen


def test_no_old_snapshot_is_kept() -> None:
    x = torch.zeros(2, 8)
    lz.silu(x), lz.attention(*[torch.zeros(1, 2, 2, 8)] * 3)
    old = weakref.ref(api._engine.current())
    api._engine.refresh()
    gc.collect()
    assert old() is None


def test_threads_see_swaps_whole() -> None:
    tensors = [torch.zeros(rows, 8) for rows in range(1, 6)]
    chosen = lz.silu(tensors[0])[0]
    stop, wrong = threading.Event(), []

    def run() -> None:
        while not stop.is_set():
            for x in tensors:
                name, (given,), _ = lz.silu(x)
                if given is not x or name not in (chosen, "reference.silu"):
                    wrong.append(name)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        lz.lock("silu", "reference.silu")
        assert lz.silu(tensors[0])[0] == "reference.silu" != chosen
        lz.unlock("silu")
        assert lz.silu(tensors[0])[0] == chosen
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_torch_has_others_inherit_goes_the_plain_way() -> None:
    class Mine(torch.Tensor):
        pass

    x = torch.zeros(2, 8)
    lz.silu(x)
    before = lz.silu.counts  # type: ignore[attr-defined]
    lz.silu(x.as_subclass(Mine))
    assert lz.silu.counts == before  # type: ignore[attr-defined]


def test_public_calls_look_like_functions() -> None:
    assert str(inspect.signature(lz.silu)) == "(x: 'Tensor') -> 'Tensor'"
    assert inspect.isroutine(lz.silu)
    assert pickle.loads(pickle.dumps(lz.silu)) is lz.silu

    class Model:
        activation = lz.silu

    assert Model.activation is lz.silu
    with pytest.raises(ArgumentError, match="Model"):
        Model().activation()  # type: ignore[call-arg, misc]
