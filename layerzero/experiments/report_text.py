"""The plain data of a report -> a table for people; also of a report that another process wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_HEAD = ("arm", "cut", "units", "requests", "errors", "p50 ms", "p95 ms", "calls failed")


def report_text(data: Mapping[str, Any]) -> str:
    """What `lz experiment status` prints; ends without a line end."""
    blocks = [_experiment(one) for one in data["experiments"]]
    if not blocks:
        blocks = [f"the policy `{_clean(data['policy'])}` has no experiments"]
    if data["dropped"]:
        blocks.append(f"{data['dropped']} outcomes were not counted: too many at once")
    return "\n\n".join(blocks)


def _experiment(one: Mapping[str, Any]) -> str:
    since = datetime.fromtimestamp(one["since"], UTC).isoformat(timespec="seconds")
    title = f"{_clean(one['experiment'])}: on {_clean(one['key'])}, share {one['share_percent']:g} %, since {since}"
    lines = [title, *_table([_HEAD, *(_row(arm) for arm in one["arms"])])]
    for arm in one["arms"]:
        name = _clean(arm["arm"])
        if arm["stopped"]:
            after = f"; {arm['after_stop']} requests since went on as control" if arm["after_stop"] else ""
            lines.append(f"  {name}: stopped by {_clean(arm['stopped'])}{after}")
        for guard in arm["guards"]:
            lines.append(f"  {name}: guard {_clean(guard['guard'])}: {_guard(guard)}")
        for metric, interval in arm["metrics"].items():
            lines.append(f"  {name}: {_clean(metric)} {_interval(interval)}")
    lines.append(f"  {_ratio(one)}")
    return "\n".join(lines)


def _row(arm: Mapping[str, Any]) -> tuple[str, ...]:
    rate = arm["error_rate"]
    errors = "-" if rate is None else f"{arm['errors']} ({_interval(rate, 100)} %)"
    latency = arm["latency_ms"]
    calls = "-" if not arm["calls"] else f"{arm['call_errors']} of {arm['calls']}"
    return (
        _clean(arm["arm"]) + (" (stopped)" if arm["stopped"] else ""),
        f"{arm['percent']:g} %",
        str(arm["units"]),
        str(arm["requests"]),
        errors,
        *(_interval(latency[name]) if name in latency else "-" for name in ("p50", "p95")),
        calls,
    )


def _interval(interval: Mapping[str, Any], times: float = 1.0) -> str:
    """`12.3 [11.9..12.8]`; an end that is not known is left open."""
    low, high = ("" if end is None else f"{end * times:.3g}" for end in (interval["low"], interval["high"]))
    return f"{interval['value'] * times:.3g} [{low}..{high}]"


def _guard(guard: Mapping[str, Any]) -> str:
    if guard["stopped"]:
        return "ended the arm"
    seen = guard["value"]
    if seen is None:
        return "nothing seen yet"
    shown = f"{seen * 100:.3g} %" if guard["guard"].split()[0].endswith("_rate") else f"{seen:.4g} ms"
    return f"now {shown}, at most {guard['evidence']:.0%} of the evidence that would end the arm"


def _ratio(one: Mapping[str, Any]) -> str:
    chance = one["sample_ratio_p"]
    if chance is None:
        return "sample ratio: too few units to judge"
    if one["sample_ratio_mismatch"]:
        return f"sample ratio: MISMATCH, p = {chance:.2g}: the arms are not cut as written; do not trust the comparison"
    return f"sample ratio: fine, p = {chance:.2g}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _clean(text: str) -> str:
    """Names come from policies: a terminal must not obey them."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
