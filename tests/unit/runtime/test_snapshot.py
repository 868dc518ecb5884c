"""Questions that a snapshot has no words for."""

from __future__ import annotations

import pytest

from layerzero.check.program import Scope
from layerzero.errors import ContextError
from layerzero.runtime.policy import Policy

POLICY = """
policy "small" version 1 standalone
field n: int in 0..9
operation one { needs n fallback plain.one }
kernel plain.one for one {}
"""


def test_an_operation_that_the_policy_does_not_have_is_named_with_those_it_has() -> None:
    snapshot = Policy.from_text(POLICY).snapshot
    with pytest.raises(ContextError, match="policy `small` has no operation `silu`; it has `one`"):
        snapshot.decide(Scope("silu"), {"n": 1})
