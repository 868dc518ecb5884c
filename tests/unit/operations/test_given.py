"""The options of a call that differ from their defaults."""

from __future__ import annotations

from layerzero.operations.tensors import given


class Uncomparable:
    """As a tensor, which goes through torch to be compared even with None."""

    def __ne__(self, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = None  # type: ignore[assignment]


def test_what_differs_from_its_default_is_kept() -> None:
    assert given(eps=(1e-6, 1e-6), scale=(0.5, None), causal=(True, False)) == {"scale": 0.5, "causal": True}


def test_an_option_without_a_default_is_not_compared() -> None:
    weight = Uncomparable()
    assert given(weight=(weight, None))["weight"] is weight
    assert given(weight=(None, None)) == {}
