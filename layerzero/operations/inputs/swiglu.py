"""Fields of `swiglu` -> calls of `lz.swiglu`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from layerzero.check.expressions import Value
from layerzero.operations import swiglu
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, itemsize, whole
from layerzero.operations.inputs.rows import ROWS, cost, settle as settle_rows

__all__ = ["TYPICAL", "cost", "make", "settle"]

TYPICAL = ROWS


def settle(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """See Inputs; the halves of one tensor are two strided views of it, the second aligned where their width is."""
    settled = settle_rows(values, wished)
    if settled is None or settled.get("packed") is not True:
        return settled
    if settled.get("inner_contiguous") is False or not settled["rows"]:
        return None
    settled["contiguous"] = settled["rows"] == 1
    settled["aligned"] = whole(settled, "hidden_size") * itemsize(settled["dtype"]) % 16 == 0
    return settled


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw, rows, hidden = Drawing(values, seed), whole(values, "rows"), whole(values, "hidden_size")
    if values["packed"] is not True:
        return swiglu.read(draw.operand(rows, hidden), draw.operand(rows, hidden))
    both = draw.plain(rows, 2 * hidden)
    gate, up = (both.requires_grad_() if values["requires_grad"] is True else both).chunk(2, dim=-1)
    return swiglu.read(gate, up)
