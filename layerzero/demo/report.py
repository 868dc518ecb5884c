"""Records of calls -> the lines that the tour prints. Nothing here decides or measures."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from layerzero.demo.model import Run
from layerzero.dispatch.trace import CallRecord

WIDTH = 100


@dataclass(frozen=True)
class Served:
    """`attention, decode: torch.sdpa_flash_cpu served 92 calls in 3.1 ms`"""

    operation: str
    phase: str
    kernel: str
    calls: int
    degraded: int
    seconds: float


def served(run: Run) -> list[Served]:
    """One row for each operation, phase and kernel, in the order of their first call."""
    rows: dict[tuple[str, str, str], list[CallRecord]] = {}
    for phase, records in (("prefill", run.prefill), ("decode", run.decode)):
        for record in records:
            rows.setdefault((record.operation, phase, record.kernel or "none"), []).append(record)
    order = {operation: place for place, (operation, _, _) in reversed(list(enumerate(rows)))}
    return [
        Served(
            *key, len(records), sum(record.degraded for record in records), sum(record.seconds for record in records)
        )
        for key, records in sorted(rows.items(), key=lambda row: order[row[0][0]])
    ]


def table(rows: Sequence[Served]) -> list[str]:
    wide = max([len("kernel"), *(len(row.kernel) for row in rows)])
    lines = [f"{'operation':<11} {'phase':<8} {'kernel':<{wide}}  {'calls':>6} {'total':>9} {'a call':>9}"]
    before = ""
    for row in rows:
        name = "" if row.operation == before else row.operation
        before = row.operation
        time = f"{row.seconds * 1e3:>6.1f} ms {row.seconds / row.calls * 1e6:>6.0f} us"
        note = f"  {row.degraded} by fallback" if row.degraded else ""
        lines.append(f"{name:<11} {row.phase:<8} {row.kernel:<{wide}}  {row.calls:>6} {time}{note}")
    return lines


def difference(old: str, new: str, name: str) -> list[str]:
    """The changed lines of a file, with a line of what stands around them."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, lineterm="", n=1)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def text_of(tokens: Iterable[int]) -> str:
    """Bytes as text; what does not print is a dot."""
    return "".join(chr(token) if 32 <= token < 127 else "." for token in tokens)


def fold(text: str, width: int = WIDTH) -> list[str]:
    """Lines no longer than the width; what is folded keeps its indentation, so that a tree stays one."""
    lines: list[str] = []
    for line in text.splitlines():
        indent = re.match(r"[\s│├└─]*", line)
        hang = re.sub(r"[├└─]", " ", indent.group() if indent else "") + "  "
        while len(line) > width:
            cut = line.rfind(" ", len(hang) + 1, width + 1)
            cut = cut if cut > len(hang) else width
            lines.append(line[:cut].rstrip())
            line = hang + line[cut:].lstrip()
        lines.append(line)
    return lines
