"""Probes and observations -> outcomes, in a report that is a JSON file, a table and a page.

What the facts accept must answer rightly; what they refuse may do anything. A *contradiction* is a fact that the
library does not keep: accepted and wrong, refused though declared, or a crash.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal as OneOf

from layerzero.check.expressions import Value
from layerzero.errors import ArgumentError

SCHEMA = "lz.facts/1"

Outcome = OneOf[
    "accepted and right",
    "accepted and wrong",
    "refused though declared",
    "crashes",
    "refused as declared",
    "right though refused",
    "no such call",
    "not run",
]
CONTRADICTIONS: tuple[Outcome, ...] = ("accepted and wrong", "refused though declared", "crashes")
_COLUMNS: tuple[tuple[Outcome, str], ...] = (
    ("accepted and right", "right"),
    ("accepted and wrong", "WRONG"),
    ("refused though declared", "REFUSED"),
    ("crashes", "CRASHED"),
    ("refused as declared", "refused"),
    ("right though refused", "stricter"),
    ("not run", "not run"),
)


def outcome(accepted: bool, seen: str) -> Outcome:
    """What an observation says about the facts."""
    if seen in ("no such call", "not run"):
        return "no such call" if seen == "no such call" else "not run"
    if seen == "no answer":
        return "not run"
    if not accepted:
        return "right though refused" if seen == "right" else "refused as declared"
    verdicts: dict[str, Outcome] = {
        "right": "accepted and right",
        "wrong": "accepted and wrong",
        "raised": "refused though declared",
        "crashed": "crashes",
    }
    return verdicts[seen]


@dataclass
class Result:
    """One call that was made: `moved` are its fields that differ from the kernel's first call."""

    call: dict[str, Value]
    moved: list[str]
    reasons: list[list[str]]  # [place, text] of each fact that refuses it
    seen: str
    text: str
    off: float | None = None

    @property
    def outcome(self) -> Outcome:
        return outcome(not self.reasons, self.seen)

    @property
    def change(self) -> str:
        """`head_dim = 264`, or the whole first call."""
        names = self.moved or list(self.call)
        return ", ".join(f"{name} = {self.call.get(name, 'absent')}" for name in names)


@dataclass
class Examined:
    """One kernel in one operation on one device. `versions` and `facts` say for what the results hold."""

    kernel: str
    operation: str
    device: dict[str, Value]
    facts: str  # digest of all that was held against the library
    versions: dict[str, str]
    sources: list[str]
    unprobed: str | None = None  # why nothing could be called here
    results: list[Result] = field(default_factory=list)
    uncrossed: list[list[str]] = field(default_factory=list)  # [place, text, why] of edges without a call beyond

    @property
    def counts(self) -> Counter[Outcome]:
        return Counter(result.outcome for result in self.results)

    @property
    def contradictions(self) -> list[Result]:
        return [result for result in self.results if result.outcome in CONTRADICTIONS]

    @property
    def key(self) -> tuple[str, ...]:
        """Equal keys: results of one run hold for the other."""
        parts = (self.kernel, self.operation, self.facts, self.device, self.versions)
        return tuple(json.dumps(part, sort_keys=True) for part in parts)


@dataclass
class Report:
    """All of a run: what was found, on which machine, and when."""

    date: str
    layerzero: str
    machine: dict[str, str]
    examined: list[Examined]
    seconds: float = 0.0

    @property
    def contradictions(self) -> list[tuple[Examined, Result]]:
        return [(one, result) for one in self.examined for result in one.contradictions]

    def to_json(self) -> str:
        """One line per call, so that two runs can be compared."""
        head = {
            "schema": SCHEMA,
            "date": self.date,
            "layerzero": self.layerzero,
            "machine": self.machine,
            "seconds": round(self.seconds, 1),
        }
        kernels = ",\n".join(_kernel_json(one) for one in self.examined)
        return f'{json.dumps(head)[:-1]}, "kernels": [\n{kernels}\n]}}\n'

    def write(self, path: Path) -> None:
        """Replace the file as a whole: a run that is cut off leaves the one before or this one."""
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(self.to_json(), encoding="utf-8")
        beside.replace(path)


def _kernel_json(one: Examined) -> str:
    plain = asdict(one)
    results = plain.pop("results")
    for result, own in zip(results, one.results, strict=True):
        result["outcome"] = own.outcome
    lines = ",\n".join(f"  {json.dumps(result, ensure_ascii=False)}" for result in results)
    return f'{json.dumps(plain, ensure_ascii=False)[:-1]}, "results": [\n{lines}\n]}}'


def read_report(path: Path) -> Report:
    """A report that was written before.

    Raises:
        ArgumentError: The file is none.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ArgumentError(f"{path}: wanted a report of schema {SCHEMA}, got {data['schema']}")
        examined = [_examined(one) for one in data["kernels"]]
        return Report(data["date"], data["layerzero"], data["machine"], examined, data["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{path}: this is no report of `lz facts verify`: {error}") from None


def _examined(data: Mapping[str, Any]) -> Examined:
    results = [Result(**{name: value for name, value in one.items() if name != "outcome"}) for one in data["results"]]
    return Examined(**{**data, "results": results})


# ---------------------------------------------------------------- for people


def table(report: Report) -> Iterator[str]:
    """The kernels that were called, a line each, and below what contradicts their facts."""
    called = [one for one in report.examined if one.results]
    width = max([len(_name(one)) for one in called], default=6)
    yield f"{'kernel':<{width}}  " + "  ".join(f"{title:>8}" for _, title in _COLUMNS)
    for one in called:
        counts = one.counts
        yield f"{_name(one):<{width}}  " + "  ".join(f"{counts[key] or '-':>8}" for key, _ in _COLUMNS)
    for one, result in report.contradictions:
        yield f"\n{result.outcome}: `{one.kernel}`, {result.change}\n  {result.text}"


def _name(one: Examined) -> str:
    return f"{one.kernel} ({one.operation}, {one.device.get('device')})"


def page(report: Report, name: str) -> str:
    """The report as Markdown; `name` is the JSON file beside it."""
    lines = [f"# Facts, held against the libraries: {report.date}", ""]
    lines.append(f"LayerZero {report.layerzero}; " + ", ".join(f"{key} {text}" for key, text in report.machine.items()))
    lines += ["", f"Every call is in [{name}]({name}); `lz facts verify --help` says what the columns mean.", ""]
    lines.append("| kernel | operation | device | versions | " + " | ".join(title for _, title in _COLUMNS) + " |")
    lines.append("|---|---|---|---|" + "---|" * len(_COLUMNS))
    for one in report.examined:
        if one.results:
            versions = ", ".join(f"{package} {version}" for package, version in one.versions.items())
            device = one.device.get("device_name", one.device.get("device"))
            counts = " | ".join(str(one.counts[key] or "") for key, _ in _COLUMNS)
            lines.append(f"| {one.kernel} | {one.operation} | {device} | {versions} | {counts} |")
    lines += _section("Contradictions", [f"{_call(o, r)}: {r.outcome}. {r.text}" for o, r in report.contradictions])
    lines += _section("Stricter than the library", _grouped(report, "right though refused"))
    lines += _section("Edges that no call here can cross", _uncrossed(report))
    lines += _section("Kernels that were not called", _unprobed(report))
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {line}" for line in lines or ["none"])]


def _call(one: Examined, result: Result) -> str:
    return f"`{one.kernel}` ({one.operation}) with {result.change}"


def _grouped(report: Report, wanted: Outcome) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for one in report.examined:
        for result in one.results:
            if result.outcome == wanted:
                refusing = ", ".join(f"`{text}`" for _, text in result.reasons)
                found.setdefault((one.kernel, refusing), []).append(result.change)
    return [
        f"`{kernel}` refuses by {refusing}, and answers rightly: {'; '.join(changes[:4])}"
        + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")
        for (kernel, refusing), changes in found.items()
    ]


def _uncrossed(report: Report) -> list[str]:
    lines: dict[str, None] = {}
    for one in report.examined:
        for _, text, why in one.uncrossed:
            cited = "; ".join(one.sources)
            lines[f"`{one.kernel}`: `{text}`, not run: {why}{f' (source: {cited})' if cited else ''}"] = None
    return list(lines)


def _unprobed(report: Report) -> list[str]:
    called = {one.kernel for one in report.examined if one.results}
    lines = {f"`{o.kernel}` ({o.operation}): {o.unprobed}" for o in report.examined if o.kernel not in called}
    return sorted(lines)
