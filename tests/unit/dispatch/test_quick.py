"""The quick way of the public calls: whatever it serves, it serves as the plain way does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise, product
from typing import Any

import pytest
import torch

import layerzero as lz
from layerzero import api, native
from layerzero.errors import ArgumentError
from layerzero.operations import attention

pytestmark = pytest.mark.skipif(native.matcher is None, reason=f"no native matcher: {native.why_not}")


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Callable[..., Any]]]:
    """Kernel id -> the function that is called for it; each returns its own name and keywords."""
    lz.configure(None)
    q = torch.ones(1, 2, 2, 8)
    lz.attention(q, q, q)  # the entry is made by the first call
    functions: dict[str, Callable[..., Any]] = {}
    monkeypatch.setattr(api._machine, "registered", functions)
    for name in lz.list_kernels(operation="attention"):
        functions[name.id] = lambda *args, name=name.id, **kwargs: (name, kwargs)
    api._engine.refresh()
    yield functions
    monkeypatch.undo()
    api._breakers._breakers.clear()
    api._engine.refresh()


def counts() -> tuple[int, int]:
    """Hits and misses of the regions of dense attention."""
    hits, misses = lz.attention.regions.counts  # type: ignore[attr-defined]
    return hits, misses


def served_quickly(call: Callable[[], Any], function: Any = lz.attention) -> tuple[bool, Any]:
    """Whether a call was served from what is remembered, and its result."""
    before, regions = function.counts[0], sum(counts())
    result = call()
    return function.counts[0] > before or sum(counts()) > regions, result


def tensors() -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    for batch, q_len, kv_len, heads, head_dim in product((1, 3), (1, 4), (1, 4, 9), ((4, 4), (4, 2)), (8, 64, 100)):
        q = torch.zeros(batch, q_len, heads[0], head_dim)
        k = torch.zeros(batch, kv_len, heads[1], head_dim)
        yield f"dense {batch} {q_len} {kv_len} {heads} {head_dim}", q, k
    q, k = torch.zeros(2, 4, 4, 64), torch.zeros(2, 4, 2, 64)
    yield "half", q.half(), k.half()
    yield "bfloat", q.bfloat16(), k.bfloat16()
    yield "double", q.double(), k.double()
    yield "a slice of a cache", q, torch.zeros(2, 64, 2, 64)[:, :9]
    yield "heads first in memory", q.transpose(1, 2).contiguous().transpose(1, 2), k
    yield "odd rows", q, torch.zeros(2, 4, 2, 65)[..., :64]
    yield "not aligned", q, torch.zeros(2 * 4 * 2 * 64 + 1)[1:].view(2, 4, 2, 64)
    yield "inner stride", q, torch.zeros(2, 4, 2, 128)[..., ::2]
    yield "broadcast", q, torch.zeros(1, 4, 2, 64).expand(2, 4, 2, 64)
    yield "gradient", q.clone().requires_grad_(), k
    yield "parameter", torch.nn.Parameter(q), k
    yield "empty", q[:, :0], k


def test_it_chooses_as_the_plain_way_does(kernels: dict[str, Callable[..., Any]]) -> None:
    quick = 0
    for name, q, k in tensors():
        for is_causal in (False, True):
            expected = api._call(attention.read(q, k, k, is_causal=is_causal))
            for _ in range(2):
                was_quick, result = served_quickly(partial(lz.attention, q, k, k, is_causal=is_causal))
                quick += was_quick
                assert result == expected, name
        with torch.no_grad():
            assert lz.attention(q, k, k) == api._call(attention.read(q, k, k)), name
    assert quick > 200


def test_the_values_that_it_reads_are_those_of_the_plain_way(kernels: dict[str, Callable[..., Any]]) -> None:
    rules = "\n".join(
        f"lock {kernel} for attention when {condition} priority {number} else choose"
        for number, (kernel, condition) in enumerate(
            [
                ("torch.sdpa_math", "batch == 3"),
                ("reference.attention", "kv_len % 3 == 0 and q_len > 1"),
                ("torch.sdpa_math", "not contiguous and inner_contiguous"),
                ("reference.attention", "requires_grad"),
                ("torch.sdpa_math", "phase == decode and dtype == fp32"),
                ("reference.attention", "v_head_dim == 100 and q_heads == 2 * kv_heads"),
                ("torch.sdpa_math", "deterministic"),
                ("reference.attention", "dtype == bf16"),
            ]
        )
    )
    with in_force(f'policy "values"\n{rules}'):
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic)
            try:
                for name, q, k in tensors():
                    expected = api._call(attention.read(q, k, k, is_causal=True))
                    assert lz.attention(q, k, k, is_causal=True) == expected, name
            finally:
                torch.use_deterministic_algorithms(False)


@contextmanager
def in_force(text: str) -> Iterator[None]:
    """A policy in force for the while; a call inside `lz.using` would be no plain one."""
    lz.configure(lz.Policy.from_text(text))
    try:
        yield
    finally:
        lz.configure(None)


def test_wrong_arguments_are_told_as_before(kernels: dict[str, Callable[..., Any]]) -> None:
    q, k = torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 3, 8)
    wrong: list[dict[str, Any]] = [
        {"q": q, "k": k, "v": k},
        {"q": q[0], "k": q, "v": q},
        {"q": q, "k": q.half(), "v": q.half()},
        {"q": q, "k": q, "v": "v"},
        {"q": q, "k": q, "v": q, "is_causal": 1},
        {"q": q, "k": q, "v": q, "layout": "hsbd"},
        {"q": q, "k": q, "v": q, "dropout_p": 2.0},
    ]
    for arguments in wrong:
        with pytest.raises(ArgumentError) as quick:
            lz.attention(**arguments)
        with pytest.raises(ArgumentError) as plain:
            attention.read(**arguments)
        assert str(quick.value) == str(plain.value)


@pytest.mark.parametrize(
    "options",
    [
        *({"scale": 0.5}, {"scale": 1}, {"window": 3}, {"softcap": 2.0}, {"dropout_p": 0.5}, {"return_lse": True}),
        *({"layout": "bhsd"}, {"phase": "prefill"}, {"enable_gqa": True}, {"sinks": torch.zeros(2)}),
        *({"attn_mask": torch.ones(1, 1, 2, 2, dtype=torch.bool)}, {"attn_mask": torch.zeros(2, 2)}),
        {"alibi_slopes": torch.zeros(2), "scale": 0.5},
    ],
    ids=str,
)
def test_options_reach_the_kernel(kernels: dict[str, Callable[..., Any]], options: dict[str, Any]) -> None:
    q = torch.zeros(1, 2, 2, 8)
    expected_name, expected = api._call(attention.read(q, q, q, **options))
    for number in range(2):
        quick, (name, given) = served_quickly(lambda: lz.attention(q, q, q, **options))
        spread = "attn_mask" in options and options["attn_mask"].ndim < 4
        assert number == 0 or quick is not spread
        assert name == expected_name
        assert given.keys() == expected.keys()
        assert all(
            torch.equal(given[k], v) if isinstance(v, torch.Tensor) else given[k] == v for k, v in expected.items()
        )


def test_whoever_watches_sees_every_call(kernels: dict[str, Callable[..., Any]]) -> None:
    q = torch.zeros(1, 2, 2, 8)
    lz.attention(q, q, q)
    with lz.trace() as records:
        lz.attention(q, q, q)
    seen: list[Any] = []
    api._dispatcher.add_sink(seen.append)
    lz.attention(q, q, q)
    api._dispatcher.remove_sink(seen.append)
    assert (len(records), len(seen)) == (1, 1)
    assert [one.decision.values for one in (*records, *seen)] == [attention.read(q, q, q).context] * 2
    assert served_quickly(lambda: lz.attention(q, q, q))[0]


def test_scopes_hold(kernels: dict[str, Callable[..., Any]]) -> None:
    q = torch.zeros(1, 2, 2, 8)
    chosen = lz.attention(q, q, q)[0]
    other = lz.Policy.from_text('policy "other"\nlock torch.sdpa_math for attention')
    with lz.using(other):
        assert lz.attention(q, q, q)[0] == "torch.sdpa_math" != chosen
    with lz.pin():
        lz.lock("attention", "torch.sdpa_math")
        assert lz.attention(q, q, q)[0] == chosen
    assert lz.attention(q, q, q)[0] == "torch.sdpa_math"
    lz.unlock("attention")
    assert lz.attention(q, q, q)[0] == chosen
    with lz.disabled(chosen):
        assert lz.attention(q, q, q)[0] != chosen
    assert lz.attention(q, q, q)[0] == chosen


def test_fields_around_the_call_count(kernels: dict[str, Callable[..., Any]]) -> None:
    q = torch.zeros(1, 2, 2, 8)
    text = 'policy "p"\nfield tenant: string\nlock torch.sdpa_math for attention when tenant == "bank" else choose'
    with in_force(text):
        chosen = lz.attention(q, q, q)[0]
        for number in range(3):
            with lz.context(tenant="bank", request_id=f"r-{number}"):
                quick, result = served_quickly(lambda: lz.attention(q, q, q))
                assert quick and result[0] == "torch.sdpa_math" != chosen
            with lz.context(tenant="shop", layer=number):
                assert served_quickly(lambda: lz.attention(q, q, q)) == (True, (chosen, {}))
        assert lz.attention(q, q, q)[0] == chosen


def test_a_kernel_that_raises_is_counted_and_the_call_goes_on(kernels: dict[str, Callable[..., Any]]) -> None:
    q = torch.zeros(1, 2, 2, 8)
    chosen = lz.attention(q, q, q)[0]
    lz.attention(q, q, q)

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("illegal memory access")

    kernels[chosen] = broken
    api._engine.refresh()
    lz.attention(q, q, q)  # counted in the plain way or the quick one
    api._breakers._breakers.clear()
    quick, result = served_quickly(lambda: lz.attention(q, q, q))
    assert quick and result[0] != chosen
    assert api._breakers._breakers[chosen, "cpu"].failures == 1
    assert lz.attention(q, q, q)[0] != chosen
    assert api._breakers._breakers[chosen, "cpu"].failures == 2


def test_an_interrupt_is_no_failure(kernels: dict[str, Callable[..., Any]]) -> None:
    q = torch.zeros(1, 2, 2, 8)
    chosen = lz.attention(q, q, q)[0]

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    kernels[chosen] = interrupted
    api._engine.refresh()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            lz.attention(q, q, q)
    assert not api._breakers._breakers


def test_a_decode_asks_the_form_once_for_each_border(kernels: dict[str, Callable[..., Any]]) -> None:
    steps = 8192
    cache = torch.zeros(1, steps + 1, 1, 8)
    q = torch.zeros(1, 1, 1, 8)
    text = """policy "borders"
lock torch.sdpa_math for attention when kv_len in 1000..1999 else choose
lock reference.attention for attention when kv_len in 5000.. and kv_len % 2 == 0 else choose
"""
    with in_force(text):
        lz.attention(q, cache[:, :2], cache[:, :2])
        hits, misses = counts()
        found = [lz.attention(q, k := cache[:, :length], k)[0] for length in range(2, steps + 1)]
        after = counts()
    borders = sum(one != other for one, other in pairwise(found[: 4999 - 2 + 1]))
    assert borders == 2
    # 1000, 2000, 5000, and from there each of two regions in turn: known once each.
    assert after[1] - misses <= borders + 3
    assert after[0] - hits >= steps - 12


def test_swaps_are_seen_whole_by_threads(kernels: dict[str, Callable[..., Any]]) -> None:
    q = torch.zeros(1, 2, 2, 8)
    wrong: list[str] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            name = lz.attention(q, q, q)[0]
            if name not in allowed:
                wrong.append(name)

    allowed = {lz.attention(q, q, q)[0], "torch.sdpa_math"}
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        lz.lock("attention", "torch.sdpa_math")
        assert lz.attention(q, q, q)[0] == "torch.sdpa_math"
        lz.unlock("attention")
        assert lz.attention(q, q, q)[0] != "torch.sdpa_math"
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_tensors_of_other_classes_go_the_plain_way(kernels: dict[str, Callable[..., Any]]) -> None:
    class Mine(torch.Tensor):
        pass

    q = torch.zeros(1, 2, 2, 8).as_subclass(Mine)
    assert not served_quickly(lambda: lz.attention(q, q, q))[0]


def test_the_entry_wants_what_it_is_given() -> None:
    assert native.matcher is not None
    for entry in (native.matcher.Attention, native.matcher.Edge, native.matcher.Call):
        with pytest.raises(TypeError):
            entry()
    with pytest.raises(TypeError):
        native.matcher.Edge(*[None] * 18)
    with pytest.raises(ValueError, match="too many parameters"):
        native.matcher.Call(*[None] * 6, tuple("abcdefghijklmnopq"), (), -1, -1)
    with pytest.raises(TypeError):
        native.matcher.quicken(int)
