"""A decision -> the contexts around its own that the same snapshot decides alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.compiler.cell import Cell
from layerzero.errors import ContextError

if TYPE_CHECKING:
    from layerzero.runtime.snapshot import Snapshot


@dataclass(frozen=True)
class Region:
    """Contexts with one kernel, score, degraded, arm, lock and order. It need not be the largest such set.

    `fixed` are the device fields that the matcher was compiled for, `arms` the arms of all experiments. Regions of one
    snapshot are equal where they are the same set of answers, so a cache of plans may be keyed by them.
    """

    snapshot: Snapshot = field(repr=False)
    scope: Scope
    fixed: tuple[tuple[str, Value | None], ...]
    arms: tuple[tuple[str, str], ...]
    cell: Cell = field(repr=False, compare=False)
    steps: tuple[tuple[int, frozenset[int]], ...] = field(repr=False)

    @property
    def fields(self) -> Mapping[str, str]:
        """Field -> what it may be: `{"kv_len": "1000..1999", "dtype": "bf16, fp16"}`. A field that is not in there was
        not looked at by itself."""
        return self.cell.fields

    @property
    def formulas(self) -> Mapping[str, bool]:
        """Conditions that are no interval or set of one field, with the truth that each has to keep."""
        return self.cell.formulas

    def contains(self, values: Mapping[str, Value], arms: Mapping[str, str] | None = None) -> bool:
        """Whether a context lies in here, and so has the same decision.

        Args:
            values: Validated, before defaults, as `Decision.values`; asked for the operation or view of the decision.
            arms: Experiment -> arm; None enrols by the values.
        """
        arms = self.snapshot.enrol(values) if arms is None else arms
        if tuple(sorted(arms.items())) != self.arms:
            return False
        try:
            asked = self.snapshot.asked(self.scope, values)
        except ContextError:
            return False
        return all(asked.get(name) == value for name, value in self.fixed) and self.cell.contains(asked, arms)

    def __str__(self) -> str:
        fixed = [f"{name}: {value}" for name, value in self.fixed if value is not None]
        arms = [f"arm of {name}: {arm}" for name, arm in self.arms]
        return "; ".join([*fixed, *arms, *filter(None, [str(self.cell)])])
