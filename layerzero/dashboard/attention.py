"""What the sources tell -> the few lines that somebody on call has to look at, each with the page that tells more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from layerzero.dashboard.metrics import Scrape
from layerzero.dashboard.tally import Count, Group

RECENT = 1800.0  # seconds before the newest call: what is older does not want to be looked at

Json = dict[str, Any]


def look(severity: str, text: str, page: str, source: str) -> Json:
    """One line; `severity` is `bad` or `warn`."""
    return {"severity": severity, "text": text, "page": page, "source": source}


def looks_of_endpoint(source: str, problem: str | None, found: Scrape | None) -> Iterator[Json]:
    """That it does not answer, or what its numbers tell."""
    if problem:
        yield look("bad", problem, "now", source)
    if found is None:
        return
    for one in found.breakers():
        if one["state"] != "closed":
            where = f" on {one['device']}" if one.get("device") else ""
            yield look("bad", f"the breaker of {one.get('kernel')}{where} is {one['state']}", "breakers", source)
    for name, severity, text in (
        ("load_failures_total", "warn", "versions of the policy could not be loaded or published"),
        ("log_dropped_records_total", "warn", "records of decision logs were lost"),
    ):
        if number := found.total(name):
            yield look(severity, f"{number:.0f} {text}", "now", source)
    for labels, value in found.of("arm_stopped"):
        if value:
            arm = f"{labels.get('experiment')}.{labels.get('arm')}"
            yield look("bad", f"a guard has stopped arm {arm}", "experiments", source)


def looks_of_calls(totals: Mapping[Group, Count]) -> Iterator[Json]:
    """Calls without a kernel, failed and degraded, of groups that were seen lately; arms are added up."""
    newest = max((count.last for count in totals.values()), default=0.0)
    found: Counter[tuple[str, str, str, str]] = Counter()
    for group, count in totals.items():
        if count.last >= newest - RECENT:
            key = group.source, group.operation, group.kernel
            if not group.kernel:
                found["none", *key] += round(count.calls)
            else:
                found["raised", *key] += round(count.raised)
                found["degraded", *key] += round(count.degraded)
    for (kind, source, operation, kernel), number in found.items():
        calls = f"{number} call{'s' if number != 1 else ''} of {operation}"
        if number and kind == "none":
            yield look("bad", f"{calls} without a kernel", "decisions", source)
        elif number and kind == "raised":
            yield look("bad", f"{calls} with an error of {kernel}", "decisions", source)
        elif number:
            yield look("warn", f"{calls} degraded, by {kernel}", "decisions", source)


def looks_of_report(source: str, report: Json) -> Iterator[Json]:
    """Of a report on experiments.

    Raises:
        KeyError, TypeError, AttributeError: It is none.
    """
    for each in report["experiments"]:
        if each["sample_ratio_mismatch"]:
            yield look("bad", f"the arms of {each['experiment']} are not cut as written", "experiments", source)
        for arm in each["arms"]:
            if arm["stopped"]:
                text = f"arm {each['experiment']}.{arm['arm']} is stopped by {arm['stopped']}"
                yield look("bad", text, "experiments", source)
