"""Seed -> a random policy as `.lzp` text, the machine that it runs on, and contexts for it.

Everything comes from one `random.Random(seed)`, so a failure is named by its seed. Conditions are typed, constants lie
near each other and contexts near the constants, so that boundaries are hit; fields are often absent.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from packaging.version import Version

from layerzero.check import program_from_text
from layerzero.check.expressions import Value
from layerzero.check.program import Program
from layerzero.semantics.environment import Environment

FACTS = """
field mode: enum(a, b, c)
field shade: enum(red, green, blue) = green
field n: int in 0..64
field m: int in 1..32
field d: int in 2..40 = n - 1
field big: int
field x: float
field y: float in 0.0..1.0 = 0.5
field flag: bool
field hint: bool = n > 8
field text: string
field release: version
field key: string
attribute vendor: bool = false
attribute tier: int
attribute layout: enum(rows, columns) = rows
"""
OPTIONAL = "shade, m, d, big, x, y, flag, hint, text, release, key"
OPERATIONS = ("one", "two")
VIEWS = {"one": ("left", "right"), "two": ("left",)}
FEATURES = {"one": ("wide", "named"), "two": ("wide",)}
KERNELS = "p.k0 p.k1 q.k0 q.k1 q.k2 r.k0 r.k1 r.k2 s.k0 s.k1 safe.one safe.two".split()
TEXTS = ("alpha", "beta", "al*ha", "", "alphabet")
PATTERNS = ("al*", "*a", "?eta", "[ab]l*", "al\\\\*ha", "*", "[!a]*")
VERSIONS = ("1.0", "1.9", "1.10", "2.0", "2.0rc1")
PACKAGES = ("lib-a", "lib-b")
TODAY = date(2026, 6, 1)


@dataclass(frozen=True)
class Case:
    """One policy on one machine. Every context has the values of `fixed`; None stands for an absent field."""

    seed: int
    text: str
    program: Program
    environment: Environment
    fixed: Mapping[str, Value | None]
    contexts: tuple[tuple[str, Mapping[str, Value], Mapping[str, str]], ...]


def make_case(seed: int, contexts: int) -> Case:
    """The case of a seed.

    Raises:
        PolicyError: The checker refuses the policy, for example for two locks that contradict each other.
    """
    rng = random.Random(seed)
    text = "\n".join(Writer(rng).statements())
    program = program_from_text(text, prelude=False)
    environment, program = _machine(rng, program)
    fixed = {name: field_value(rng, name) for name in rng.sample(sorted(_CHOICES), rng.choice((0, 0, 1, 2, 4)))}
    made = tuple(_context(rng, fixed) for _ in range(contexts))
    return Case(seed, text, program, environment, fixed, made)


# ---------------------------------------------------------------- policies


class Writer:
    """Writes the statements of one policy. `rules` are named, so that their order in the text cannot show."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.count = 0
        self.attributes = False  # whether `kernel.X` may stand in the condition being written
        self.optional_only = False

    def statements(self) -> list[str]:
        strict = " strict" if self.rng.random() < 0.2 else ""
        written = [f'policy "random" version 1{strict}', FACTS, f"define several = {self.number(1)}"]
        written.append(f"define special = {self.condition(1)}")
        written.extend(self.operation(name) for name in OPERATIONS)
        written.extend(self.backend(name) for name in ("p", "q"))
        written.extend(self.kernel(name) for name in KERNELS)
        kinds = ["quarantine"] * 2 + ["lock"] * 3 + ["allow"] * 2 + ["deny"] * 2 + ["boost"] * 6 + ["order"] * 3
        written.extend(self.rule(kind) for kind in kinds if self.rng.random() < 0.75)
        written.extend(self.contradiction() if self.rng.random() < 0.5 else ())
        written.append(self.experiment())
        return written

    def operation(self, name: str) -> str:
        views = " ".join(f"view {view} when {self.condition(1)}" for view in VIEWS[name])
        features = " ".join(f"feature {feature} when {self.test()} and {self.test()}" for feature in FEATURES[name])
        return f"operation {name} {{ needs mode, n optional {OPTIONAL} {views} {features} fallback q.k2, safe.{name} }}"

    def backend(self, name: str) -> str:
        lines = [self.requirement()] if self.rng.random() < 0.3 else []
        if self.rng.random() < 0.6:
            lines.append(self.package())
        lines.append("supports wide")
        return f"backend {name} {{ {' '.join(lines)} }}"

    def kernel(self, name: str) -> str:
        if name.startswith("safe"):
            guard = self.requirement() if self.rng.random() < 0.5 else ""
            return f"kernel {name} for {name[5:]} {{ priority 1 supports {', '.join(FEATURES[name[5:]])} {guard} }}"
        # q.k2 is a fallback of both operations.
        scopes = (
            "one, two"
            if name == "q.k2"
            else self.rng.choice(("one", "one", "one, two", "two", "one.left", "one.left, one.right", "two.left, one"))
        )
        # Few priorities, so that scores tie.
        lines = [f"priority {self.rng.choice((0, 10, 50, 50, 70, 100))}"]
        lines.extend(self.requirement() for _ in range(self.rng.choice((0, 1, 1, 2))))
        offered = {feature for scope in scopes.split(", ") for feature in FEATURES[scope.split(".")[0]]}
        for feature in sorted(offered):
            if self.rng.random() < 0.7:
                when = f" when {self.condition(1)}" if self.rng.random() < 0.4 else ""
                lines.append(f"supports {feature}{when}")
        sets = [f"vendor = {self.rng.choice(('true', 'false'))}", f"layout = {self.rng.choice(('rows', 'columns'))}"]
        if self.rng.random() < 0.7:
            sets.append(f"tier = {self.rng.randint(1, 3)}")
        return f"kernel {name} for {scopes} {{ {' '.join(lines)} set {', '.join(sets)} }}"

    def package(self) -> str:
        first = f"{self.rng.choice(PACKAGES)} >={self.rng.choice(VERSIONS[:4])}"
        return f"package {first}" + (f" | lib-c >={self.rng.choice(VERSIONS[:2])}" if self.rng.random() < 0.6 else "")

    def requirement(self) -> str:
        when = f" when {self.condition(1)}" if self.rng.random() < 0.3 else ""
        return f"require {self.condition(1)}{when}"

    def rule(self, kind: str) -> str:
        self.count += 1
        self.attributes = self.rng.random() < 0.25
        scope = self.scope() if self.rng.random() < 0.7 else ""
        clauses = (
            [f"when {self.condition(self.rng.choice((1, 1, 2)))}"]
            if self.rng.random() < (0.5 if kind == "order" else 0.85)
            else []
        )
        if self.rng.random() < 0.15:
            clauses.append(f"until {self.rng.choice(('2026-05-31', '2026-06-01', '2026-06-02'))}")
        # Orders mostly share a rank, so that some of them disagree.
        if kind in ("lock", "order") and self.rng.random() < (0.5 if kind == "lock" else 0.15):
            clauses.append(f"priority {self.rng.randint(1, 2)}")
        if kind == "lock":
            clauses.append(f"else {self.rng.choice(('fail', 'choose', 'fallback'))}")
        self.attributes = False
        clauses.append(f"as rule_{self.count}")
        self.rng.shuffle(clauses)
        return f"{kind} {self.subject(kind)} {scope} {' '.join(clauses)}"

    def subject(self, kind: str) -> str:
        if kind == "order":
            return " > ".join(self.target() for _ in range(self.rng.randint(2, 3)))
        if kind == "lock":
            return self.rng.choice(("p.k0", "r.k1", "{q.k0, q.k1}", "{p, r.k0}", "s", "{p.k1, q.k1, r.k1}"))
        if kind == "allow":
            return self.rng.choice(("{p, q, safe}", "{p, r.k0}", "{q, r, s}", "*", "{r.*, s.k0}"))
        if kind == "boost":
            return f"{self.target()} by {self.rng.choice(('0', '0.1', '0.3', '1.1', '1.3', '0.7', '3', '0.9', '1e3'))}"
        return self.target()

    def target(self) -> str:
        return self.rng.choice(
            ("p", "q", "r", "*", "*.k0", "*.k1", "{p.k0, r}", "{q.*, s.k1}", "p.k1", "r.k2", "s", "*")
        )

    def scope(self) -> str:
        return "for " + self.rng.choice(("one", "one", "two", "one.left", "one.left, one.right", "one.right, two"))

    def contradiction(self) -> list[str]:
        """Two orders that disagree wherever both apply."""
        ranks = [("p", "q", "r", "s"), ("{r, s}", "q", "p")]
        return [f"order {' > '.join(one)} when {self.flag()} as against_{i}" for i, one in enumerate(ranks)]

    def experiment(self) -> str:
        rules = " ".join(self.rule(self.rng.choice(("boost", "deny", "lock", "order", "quarantine"))) for _ in range(2))
        return f"experiment trial on key share 50% {{ arm control 50% arm changed 50% {{ {rules} }} }}"

    # ------------------------------------------------------------ conditions

    def condition(self, depth: int) -> str:
        if depth == 0 or self.rng.random() < 0.25:
            return self.test()
        one, other = self.condition(depth - 1), self.condition(depth - 1)
        return self.rng.choice(
            (
                f"({one}) and ({other})",
                f"({one}) or ({other})",
                f"not ({one})",
                f"({one} if {other} else {self.test()})",
                f"({one}) == ({other})",
                f"({one}) or ({other}) or ({self.test()})",
            )
        )

    def test(self) -> str:
        kinds = [
            self.order,
            self.order,
            self.equality,
            self.equality,
            self.chain,
            self.inside,
            self.inside,
            self.inside,
        ]
        kinds += [self.like, self.presence, self.version, self.flag, self.flag]
        if self.count:
            kinds += [self.named]
        if self.attributes:
            kinds += [self.attribute] * 6
        return self.rng.choice(kinds)()

    def order(self) -> str:
        return f"{self.number(2)} {self.rng.choice(('<', '<=', '>', '>='))} {self.number(1)}"

    def equality(self) -> str:
        operator = self.rng.choice(("==", "!="))
        if self.rng.random() < 0.5:
            # Starts with a field, so that no two constants meet that the checker would refuse.
            arithmetic = self.rng.choice(("+", "-", "*", "//", "%"))
            left = f"({self.integer_field()} {arithmetic} {self.number(1)})"
            return f"{left} {operator} {self.rng.choice((self.integer_field(), '4', '8', '10', '12.5'))}"
        return self.rng.choice((f"mode {operator} {self.rng.choice('abc')}", f"shade {operator} {self.shade()}"))

    def chain(self) -> str:
        low = self.rng.randint(0, 20)
        return f"{low} {self.rng.choice(('<', '<='))} {self.integer_field()} {self.rng.choice(('<', '<='))} {low + 9}"

    def inside(self) -> str:
        negated = self.rng.choice(("", "", "not "))
        low = self.rng.randint(2, 20)
        return self.rng.choice(
            (
                f"mode {negated}in {{{self.rng.choice('ab')}, c}}",
                f"shade {negated}in {{{self.shade()}, {self.shade()}}}",
                f"{self.integer_field()} {negated}in {{{low}, {low + 3}..{low + 8}}}",
                f"{self.integer_field()} {negated}in {low}..<{low + self.rng.randint(1, 9)}",
                f"{self.integer_field()} {negated}in {low}..",
                f"y {negated}in 0.25..<{self.rng.choice(('0.5', '0.75'))}",
                f"x {negated}in ..{low}",
            )
        )

    def like(self) -> str:
        return f'text {self.rng.choice(("", "not "))}like "{self.rng.choice(PATTERNS)}"'

    def presence(self) -> str:
        return f"has({self.rng.choice(('x', 'm', 'text', 'd', 'release', 'flag', 'y'))})"

    def version(self) -> str:
        operator = self.rng.choice(("<", "<=", ">", ">=", "==", "!="))
        left = self.rng.choice(("release", 'package("lib-a")', 'package("lib-b")', 'package("Lib_A")'))
        return f'{left} {operator} "{self.rng.choice(VERSIONS)}"'

    def flag(self) -> str:
        return self.rng.choice(("flag", "not flag", "hint", "flag == true", "hint == flag", "not hint"))

    def named(self) -> str:
        return self.rng.choice(("special", "several > 5", "not special"))

    def attribute(self) -> str:
        return self.rng.choice(
            ("kernel.vendor", "not kernel.vendor", "kernel.tier >= 2", "kernel.layout == rows", "kernel.tier <= m")
        )

    def number(self, depth: int) -> str:
        if depth == 0 or self.rng.random() < 0.4:
            return self.rng.choice((self.integer_field(), self.integer_field(), self.constant(), "x", "y"))
        one, other = self.number(depth - 1), self.number(depth - 1)
        divisor = self.rng.choice((other, "2", "3", "8", "m", "(n - 3)"))
        return self.rng.choice(
            (
                f"({one} + {other})",
                f"({one} - {other})",
                f"({one} * {other})",
                f"({one} // {divisor})",
                f"({one} % {divisor})",
                f"(-{one})",
                f"min({one}, {other})",
                f"max({one}, {other})",
                f"({one} if {self.test()} else {other})",
            )
        )

    def integer_field(self) -> str:
        return self.rng.choice(("n", "n", "m", "d", "n", "m", "big"))

    def constant(self) -> str:
        return self.rng.choice(("1", "4", "8", "10", "16", "12.5", "0.5", "20"))

    def shade(self) -> str:
        return self.rng.choice(("red", "green", "blue"))


# ---------------------------------------------------------------- machines and contexts


def _machine(rng: random.Random, program: Program) -> tuple[Environment, Program]:
    offline = rng.random() < 0.5
    if not offline:
        kernels = {name: replace(kernel, adapter="module:call") for name, kernel in program.kernels.items()}
        program = replace(program, kernels=kernels)
    packages = {name: rng.choice(VERSIONS) for name in (*PACKAGES, "lib-c") if rng.random() < (0.3 if offline else 0.8)}
    broken = {name: "does not import" for name in packages if rng.random() < 0.15}
    missing = {"r.k2": "not built"} if rng.random() < 0.3 else {}
    breakers = {rng.choice(KERNELS[:10]): "too many errors"} if rng.random() < 0.5 else {}
    return Environment(packages, broken, missing, breakers, assume_packages=offline, today=TODAY), program


_NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 20, 21, 31, 32)
_CHOICES: dict[str, tuple[Value | None, ...]] = {
    "mode": ("a", "b", "c"),
    "shade": ("red", "green", "blue", None),
    "n": (*_NUMBERS, 40, 41, 42, 64),
    "m": (*_NUMBERS[1:], None, None, None),
    "d": (*_NUMBERS[2:], 40, None, None, None, None, None, None),
    "big": (0, 1, 4, 5, 10, 16, 2**62, 2**63 - 1, 2**63 - 2, -(2**63), -1, None, None, None),
    "x": (0.0, 0.5, 1.0, 3.5, 4.0, 8.0, 12.5, 20.0, -1.5, 1e308, float("nan"), float("inf"), None, None, None),
    "y": (0.0, 0.25, 0.5, 0.75, 0.9999, 1.0, None),
    "flag": (True, False, True, False, None),
    "hint": (True, False, None, None),
    "text": (*TEXTS, None),
    "release": (*(Version(text) for text in VERSIONS), None),
    "key": ("u1", "u2", None),
}


def field_value(rng: random.Random, name: str) -> Value | None:
    """A value of a field, near the constants of the conditions; None where it is absent."""
    return rng.choice(_CHOICES[name])


def _context(
    rng: random.Random, fixed: Mapping[str, Value | None]
) -> tuple[str, Mapping[str, Value], Mapping[str, str]]:
    drawn = {name: field_value(rng, name) for name in _CHOICES} | dict(fixed)
    if rng.random() < 0.05:
        drawn[rng.choice(("n", "mode"))] = None
        drawn |= fixed
    values = {name: value for name, value in drawn.items() if value is not None}
    arms = rng.choice(({}, {"trial": "control"}, {"trial": "changed"}, {"trial": "changed"}))
    return rng.choice(("one", "one", "two")), values, arms
