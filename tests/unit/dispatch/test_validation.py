"""`lz.configure(validate=...)`: what it takes, and that it leaves the policy alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import layerzero as lz
from layerzero.operations import validation


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    validation.set_validation("arguments")


def test_validation_alone_leaves_the_policy_in_force() -> None:
    before = lz.status()
    assert lz.configure(validate="values") is None
    assert validation._of_devices
    lz.configure(validate="arguments")
    assert not validation._of_devices
    assert lz.status().epoch == before.epoch


def test_neither_a_policy_nor_validation_is_wrong() -> None:
    with pytest.raises(lz.ArgumentError, match="give a policy"):
        lz.configure()  # type: ignore[call-overload]
    with pytest.raises(lz.ArgumentError, match="give a policy"):
        lz.configure(validate="values", watch=True)  # type: ignore[call-overload]


def test_a_misspelt_word_changes_nothing() -> None:
    before = lz.status()
    with pytest.raises(lz.ArgumentError, match='wanted "arguments" or "values", given \'value\''):
        lz.configure(None, validate="value")  # type: ignore[call-overload]
    assert lz.status().epoch == before.epoch
