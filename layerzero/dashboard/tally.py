"""Records of decision logs, and counters of metrics endpoints -> counts by group and time, epochs, the last decisions.

Everything has a bound (see the package). Times are seconds since 1970, of the records themselves: a log of yesterday is
shown as yesterday.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from layerzero.runtime.record import Record

MOST_GROUPS = 500
MOST_RECORDS = 2_000
MOST_RECORD_BYTES = 32 * 1024**2
MOST_EPOCHS = 200  # of one source
MOST_IDS = 65_536
MOST_SERIES = 8
OTHER = "(other)"
_LONGEST = 200  # characters of a name
_AHEAD = 3600.0  # seconds that a record's clock may be ahead of ours

# How far back the rings of time go: name -> seconds of a bucket, number of buckets.
SPANS: Mapping[str, tuple[int, int]] = {"30m": (10, 180), "6h": (120, 180), "4d": (1800, 192)}


class Group(NamedTuple):
    """What calls are counted by; `kernel` is empty for calls without one, `arms` is `experiment.arm, ...`."""

    source: str
    operation: str
    kernel: str
    arms: str


@dataclass(slots=True)
class Count:
    """Of one group. `seconds` is the time of the `timed` calls that have a record."""

    calls: float = 0.0
    degraded: float = 0.0
    raised: float = 0.0
    seconds: float = 0.0
    timed: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class Epoch:
    """A snapshot as a source was seen to decide by it, from `first` to `last`."""

    number: int
    snapshot: str
    policy: Mapping[str, Any]
    first: float
    last: float
    calls: float = 0.0


@dataclass(slots=True)
class Kept:
    """A record that can still be explained."""

    number: int
    group: Group
    record: Record
    time: float
    size: int
    calls: float


@dataclass(slots=True)
class Ring:
    """Calls by bucket of time and group, for the newest `length` buckets."""

    width: int
    length: int
    buckets: dict[int, Counter[Group]] = field(default_factory=dict)
    newest: int = 0

    def add(self, time: float, group: Group, calls: float) -> None:
        bucket = int(time // self.width)
        if bucket <= self.newest - self.length:
            return
        if bucket > self.newest:
            self.newest = bucket
            for old in [one for one in self.buckets if one <= bucket - self.length]:
                del self.buckets[old]
        self.buckets.setdefault(bucket, Counter())[group] += calls  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which groups somebody looks at; None is all of them."""

    sources: frozenset[str]
    operation: str | None = None
    kernel: str | None = None
    arms: str | None = None

    def __contains__(self, group: Group) -> bool:
        wanted = self.operation, self.kernel, self.arms
        return group.source in self.sources and all(
            word is None or word == name for word, name in zip(wanted, group[1:], strict=True)
        )


class Tally:
    """For one thread at a time: the board's lock is around every call."""

    def __init__(self) -> None:
        self.totals: dict[Group, Count] = {}
        self.epochs: dict[str, OrderedDict[tuple[int, str], Epoch]] = {}
        self.unplaced: Counter[str] = Counter()  # by source: calls of regions whose record was not read
        self._rings = {name: Ring(*shape) for name, shape in SPANS.items()}
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._bytes = self._numbers = 0
        self._ids: OrderedDict[tuple[str, str], tuple[Group, int]] = OrderedDict()
        self._seen: dict[Group, float] = {}  # what a metrics endpoint counted when it was last asked

    # ------------------------------------------------------------ in

    def add(self, source: str, record: Record, now: float) -> str | None:
        """Take a record in; what is wrong with it where it cannot be."""
        time = _seconds(record["time"])
        if time is None:
            return "its time cannot be read"
        if time > now + _AHEAD:
            return "its time lies more than an hour ahead of this machine's clock"
        calls, seconds = float(record["count"]), record.get("seconds")
        arms = ", ".join(f"{name}.{arm}" for name, arm in sorted(record["arms"].items()))
        group = self._count(Group(source, record["operation"], record["kernel"] or "", arms), time, calls)
        count = self.totals[group]
        count.degraded += calls if record["degraded"] else 0.0
        count.raised += calls if record.get("raised") else 0.0
        if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
            count.seconds += seconds * calls
            count.timed += calls
        if not record["recovered_from"]:  # a call around a kernel that failed is decided by a snapshot of its own
            self._epoch(source, record, time, calls)
        self._keep(group, record, time, calls)
        return None

    def again(self, source: str, more: Mapping[str, int], now: float | None) -> None:
        """Further calls of regions that have a record, by its id; `now` is None where it is not known when."""
        for id, calls in more.items():
            known = self._ids.get((source, id))
            if known is None:
                self.unplaced[source] += calls
                continue
            group, number = known
            self.totals[group].calls += calls
            if number in self._kept:
                self._kept[number].calls += calls
                if self._kept[number].record["degraded"]:
                    self.totals[group].degraded += calls
            if now is not None:
                self._spread(group, now, calls)

    def counted(self, group: Group, total: float, degraded: float, now: float) -> None:
        """What a metrics endpoint has counted by now; a count that fell is that of a process begun anew."""
        before = self._seen.get(group)
        if before is None and len(self._seen) >= MOST_GROUPS:
            return
        self._seen[group] = total
        if before is None:
            group = self._count(group, now, 0.0)
            self.totals[group].calls += total
        else:
            group = self._count(group, now, total - before if total >= before else total)
        self.totals[group].degraded = degraded

    def _count(self, group: Group, time: float, calls: float) -> Group:
        group = Group(*(name[:_LONGEST] for name in group))
        if group not in self.totals and len(self.totals) >= MOST_GROUPS:
            group = Group(group.source, *[OTHER] * 3)
        count = self.totals.setdefault(group, Count())
        count.calls += calls
        if calls:
            self._spread(group, time, calls)
        return group

    def _spread(self, group: Group, time: float, calls: float) -> None:
        count = self.totals[group]
        count.last = max(count.last, time)
        for ring in self._rings.values():
            ring.add(time, group, calls)

    def _epoch(self, source: str, record: Record, time: float, calls: float) -> None:
        epochs = self.epochs.setdefault(source, OrderedDict())
        key = (record["epoch"], record["snapshot"])
        epoch = epochs.get(key)
        if epoch is None:
            epochs[key] = epoch = Epoch(*key, record["policy"], time, time)
            if len(epochs) > MOST_EPOCHS:
                epochs.popitem(last=False)
        epoch.first, epoch.last = min(epoch.first, time), max(epoch.last, time)
        epoch.calls += calls

    def _keep(self, group: Group, record: Record, time: float, calls: float) -> None:
        self._numbers += 1
        kept = Kept(self._numbers, group, record, time, len(json.dumps(record)), calls)
        self._kept[kept.number] = kept
        self._bytes += kept.size
        while len(self._kept) > MOST_RECORDS or self._bytes > MOST_RECORD_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size
        if record["id"] is not None:
            self._ids[group.source, record["id"]] = (group, kept.number)
            if len(self._ids) > MOST_IDS:
                self._ids.popitem(last=False)

    # ------------------------------------------------------------ out

    def record(self, number: int) -> Kept | None:
        return self._kept.get(number)

    def records(self, asked: Asked, only: str) -> Iterator[Kept]:
        """The newest first; `only` is `degraded`, `errors` or empty."""
        for kept in sorted(self._kept.values(), key=lambda one: (one.time, one.number), reverse=True):
            record = kept.record
            wrong = record["degraded"] if only == "degraded" else record["error"] or record.get("raised")
            if kept.group in asked and (not only or wrong):
                yield kept

    def timeline(self, span: str, by: str, asked: Asked, now: float) -> dict[str, Any]:
        """Calls by bucket, one series for each name of `by` (a word of Group), the largest first.

        The last bucket is the present one where the newest call lies in the span, else that of the newest call.
        """
        ring = self._rings[span]
        last = int(now // ring.width)
        if not ring.newest or ring.newest <= last - ring.length:
            last = ring.newest
        start = max(last, ring.newest) - ring.length + 1
        series: dict[str, list[float]] = {}
        for bucket, counts in ring.buckets.items():
            if bucket < start:
                continue
            for group, calls in counts.items():
                if group in asked:
                    name = getattr(group, by)
                    series.setdefault(name, [0.0] * ring.length)[bucket - start] += calls
        ranked = sorted(series.items(), key=lambda one: (-sum(one[1]), one[0]))
        shown = [{"name": name, "values": values} for name, values in ranked[:MOST_SERIES]]
        if len(ranked) > MOST_SERIES:
            rest = [sum(column) for column in zip(*(values for _, values in ranked[MOST_SERIES:]), strict=True)]
            shown.append({"name": OTHER, "values": rest})
        return {"start": start * ring.width, "width": ring.width, "length": ring.length, "series": shown}


def _seconds(text: str) -> float | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None
