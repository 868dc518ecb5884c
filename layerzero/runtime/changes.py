"""What another policy would have changed, counted: per pair of kernels and per rule, in shares of traffic.

Everything kept is bounded, whatever the length of the log. Counts are exact, so that a log that was counted in parts
comes to the same numbers as one that was counted from end to end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

from layerzero.runtime.vocabulary import Identity
from layerzero.semantics.causes import Cause

SCHEMA = "lz.replay/1"
MOST = 2_000
"""Pairs, causes of one, notes, and policies that are kept."""
MOST_PROBLEMS = 10
"""Lines that could not be read and are listed."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a caller notices of a decision."""

    kernel: str | None
    degraded: bool
    error: str | None

    def __str__(self) -> str:
        if self.kernel is None:
            return f"error {self.error}"
        return f"{self.kernel} (degraded)" if self.degraded else self.kernel

    def to_json(self) -> Json:
        return {"kernel": self.kernel, "degraded": self.degraded, "error": self.error}


@dataclass(slots=True)
class Tally:
    """Records, and the calls that they stand for: a sampled record is of several, whose number need not be whole."""

    records: int = 0
    _whole: int = 0
    _rest: Fraction = Fraction()

    @property
    def calls(self) -> float:
        try:
            return float(self._whole + self._rest)
        except OverflowError:
            return math.inf

    def count(self, calls: float, times: int = 1) -> None:
        """That many records, each of `calls` calls."""
        self.records += times
        if calls.is_integer():
            self._whole += int(calls) * times
        else:
            self._rest += Fraction(calls) * times

    def add(self, other: Tally) -> None:
        self.records += other.records
        self._whole += other._whole
        self._rest += other._rest


@dataclass(slots=True)
class Pair:
    """Calls that got `old` and would get `new`; the message and the example are those of the first."""

    old: Result
    new: Result
    message: str | None
    example: Json
    total: Tally = field(default_factory=Tally)
    causes: dict[Cause, Tally] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """The counts of a log, or of a part of it.

    Attributes:
        policy: The new one.
        most: How many of a kind are kept. A part of a log keeps all of its own, so that what is left out of the whole
            does not depend on where it was parted.
        taken: The ids of `distinct` records whose further calls were counted.
    """

    policy: Identity
    most: int = MOST
    traffic: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)
    errors: Tally = field(default_factory=Tally)
    degraded_before: Tally = field(default_factory=Tally)
    degraded_after: Tally = field(default_factory=Tally)
    unreadable: int = 0
    problems: list[Json] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    _policies: dict[str, Tally] = field(default_factory=dict)
    _pairs: dict[tuple[Result, Result], Pair] = field(default_factory=dict)
    _notes: dict[str, Tally] = field(default_factory=dict)
    _beyond: Tally = field(default_factory=Tally)

    # ------------------------------------------------------------ counting

    def problem(self, file: str, line: int, problem: str | None, times: int = 1) -> None:
        self.unreadable += times
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append({"file": file, "line": line, "problem": problem})

    def recorded(self, policy: str) -> Tally:
        """The tally of a policy that records tell of, by its digest."""
        return self._bounded(self._policies, policy)

    def note(self, text: str) -> Tally:
        """The tally of something that has to be said."""
        return self._bounded(self._notes, text)

    def pair(self, first: Pair) -> Pair | None:
        """The pair of these two results, which is `first` if there was none; None past the bound."""
        key = (first.old, first.new)
        if key not in self._pairs and len(self._pairs) < self.most:
            self._pairs[key] = first
        return self._pairs.get(key)

    def change(self, pair: Pair | None, causes: Sequence[Cause], calls: float, times: int) -> None:
        """That many records came out otherwise."""
        self.changed.count(calls, times)
        if pair is None:
            self._beyond.count(calls, times)
            return
        pair.total.count(calls, times)
        for cause in causes:
            self._bounded(pair.causes, cause).count(calls, times)

    def merge(self, later: Changes) -> None:
        """Take in the part of the log that follows."""
        for name in ("traffic", "changed", "errors", "degraded_before", "degraded_after", "_beyond"):
            getattr(self, name).add(getattr(later, name))
        self.unreadable += later.unreadable
        self.problems += later.problems[: MOST_PROBLEMS - len(self.problems)]
        self.taken |= later.taken
        for mine, theirs in ((self._policies, later._policies), (self._notes, later._notes)):
            for key, tally in theirs.items():
                self._bounded(mine, key).add(tally)
        for other in later._pairs.values():
            pair = self.pair(Pair(other.old, other.new, other.message, other.example))
            if pair is None:
                self._beyond.add(other.total)
                continue
            pair.total.add(other.total)
            for cause, tally in other.causes.items():
                self._bounded(pair.causes, cause).add(tally)

    def _bounded(self, tallies: dict[Any, Tally], key: Any) -> Tally:
        """The tally of a key; past the bound a passing one, so that hostile logs cost no memory."""
        found = tallies.get(key)
        if found is None:
            found = Tally()
            if len(tallies) < self.most:
                tallies[key] = found
        return found

    # ------------------------------------------------------------ saying it

    @property
    def pairs(self) -> list[Pair]:
        """The largest first."""
        return sorted(self._pairs.values(), key=lambda pair: (-pair.total.calls, str(pair.old), str(pair.new)))

    @property
    def rules(self) -> list[tuple[Cause, Tally]]:
        """The largest first. A call with several causes counts for each."""
        found: dict[Cause, Tally] = {}
        for pair in self._pairs.values():
            for cause, tally in pair.causes.items():
                found.setdefault(cause, Tally()).add(tally)
        return _largest_first(found)[: self.most]

    @property
    def notes(self) -> list[tuple[str, Tally]]:
        beyond = f"changed beyond the first {self.most} pairs of kernels"
        return sorted([*self._notes.items(), *([(beyond, self._beyond)] if self._beyond.records else [])])

    def share(self, tally: Tally) -> float:
        """Of all calls, 0..1."""
        return tally.calls / self.traffic.calls if self.traffic.calls else 0.0

    def report(self) -> Json:
        """The stable object `lz.replay/1`."""
        return {
            "schema": SCHEMA,
            "policy": asdict(self.policy),
            "recorded_policies": {digest: self._tally(tally) for digest, tally in self._policies.items()},
            "traffic": {"records": self.traffic.records, "calls": self.traffic.calls},
            "changed": self._tally(self.changed),
            "pairs": [self._pair(pair) for pair in self.pairs],
            "rules": [self._rule(cause, tally) for cause, tally in self.rules],
            "errors": self._tally(self.errors),
            "degraded": {"before": self._tally(self.degraded_before), "after": self._tally(self.degraded_after)},
            "unreadable": {"lines": self.unreadable, "first": self.problems},
            "notes": [{"text": text, **self._tally(tally)} for text, tally in self.notes],
        }

    def _pair(self, pair: Pair) -> Json:
        return {
            "old": pair.old.to_json(),
            "new": pair.new.to_json(),
            **self._tally(pair.total),
            "message": pair.message,
            "rules": [self._rule(cause, tally) for cause, tally in _largest_first(pair.causes)],
            "example": pair.example,
        }

    def _rule(self, cause: Cause, tally: Tally) -> Json:
        parts = {"rule": cause.rule, "kind": cause.kind, "side": cause.side, "at": cause.at, "text": cause.text}
        return {**parts, **self._tally(tally)}

    def _tally(self, tally: Tally) -> Json:
        return {"records": tally.records, "calls": tally.calls, "share": self.share(tally)}


def _largest_first(tallies: Mapping[Cause, Tally]) -> list[tuple[Cause, Tally]]:
    return sorted(tallies.items(), key=lambda item: (-item[1].calls, item[0].side, item[0].at, item[0].text))
