"""Context fields of an operation -> a call that has them, on tensors drawn at random: `read` the other way round.

One module per operation, of its name. Nothing in here imports torch before a call is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from layerzero.check.expressions import Value
from layerzero.operations.call import Call


class Inputs(Protocol):
    """What each module of this package offers.

    Attributes:
        TYPICAL: Values of a small call: enough to tell a right answer from a wrong one.
    """

    TYPICAL: Mapping[str, Value]

    def settle(self, values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
        """Values that one call can have together: what is `wished` stays and the rest follows; None where none can.

        Args:
            values: Fields by name, without defaults.
            wished: The fields that matter.
        """

    def cost(self, values: Mapping[str, Value]) -> int:
        """Multiplications of the plain computation, of completed values."""

    def make(self, values: Mapping[str, Value], seed: int) -> Call:
        """A call on the device of the values, which are completed; the same for the same seed.

        Raises:
            ArgumentError: The public call refuses it.
        """


def inputs_of(operation: str) -> Inputs | None:
    """The module of an operation; None for one that takes no tensors."""
    name = f"{__name__}.{operation}"
    return cast(Inputs, import_module(name)) if operation.isidentifier() and find_spec(name) is not None else None
