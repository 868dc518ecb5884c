"""A seed -> rules and contexts that every engine can express: a list of rules, of which the first that matches wins.

A rule is a conjunction of tests of one field each (one of these members, between these bounds) and names a kernel;
a context in which no rule matches gets `DEFAULT`. LayerZero spells the list as locks of falling priority with
`else choose`. Nothing here imports LayerZero or a peer, so that no engine can shape its own test.

    realistic     rules as people write them for attention: of few fields, specific ones first, a few general ones last
    adversarial   ranges with bounds of their own over 3 of 7 numbers each, which share nothing: bad for decision trees
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Value = str | int
Context = dict[str, Value]

DEFAULT = "reference.attention"
KERNELS = (
    "flash_attn.v2",
    "flash_attn.v3",
    "flash_attn.v4",
    "flashinfer.prefill",
    "flashinfer.decode",
    "flashinfer.paged",
    "xformers.memory_efficient",
    "torch.sdpa_flash",
    "torch.sdpa_cudnn",
    "torch.sdpa_efficient",
    "torch.sdpa_math",
)
DTYPES = ("fp16", "bf16", "fp32", "fp8")
PHASES = ("prefill", "decode")
ARCHITECTURES = ((80, 86), (89, 89), (90, 90), (100, 103), (120, 121))
MODELS = (80, 86, 89, 90, 100, 103, 120, 121)
HEAD_DIMS = ((64,), (128,), (64, 128), (64, 96, 128), (192, 256), (80, 96, 112))
ALL_HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 256)
THRESHOLDS = tuple(2**power for power in range(7, 18))

ENUMS: Mapping[str, tuple[str, ...]] = {"dtype": DTYPES, "phase": PHASES}
RANGES: Mapping[str, tuple[int, int]] = {
    "sm": (50, 130),
    "head_dim": (1, 1024),
    "batch": (1, 4096),
    "q_len": (1, 1 << 20),
    "kv_len": (1, 1 << 20),
    "q_heads": (1, 1024),
    "window": (0, 1 << 20),
}
FIELDS = (*ENUMS, *RANGES)


@dataclass(frozen=True, slots=True)
class OneOf:
    """`dtype in {fp16, bf16}`"""

    field: str
    members: tuple[Value, ...]

    def holds(self, context: Mapping[str, Value]) -> bool:
        return context[self.field] in self.members


@dataclass(frozen=True, slots=True)
class Between:
    """`8192 <= kv_len <= 1048576`: both ends included, each within the field's range."""

    field: str
    low: int
    high: int

    def holds(self, context: Mapping[str, Value]) -> bool:
        value = context[self.field]
        assert isinstance(value, int)
        return self.low <= value <= self.high


Test = OneOf | Between


@dataclass(frozen=True, slots=True)
class Rule:
    """`Rule((OneOf("dtype", ("bf16",)), Between("kv_len", 8192, 1048576)), "flashinfer.decode")`"""

    tests: tuple[Test, ...]
    kernel: str


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules, first match first."""

    kind: Literal["realistic", "adversarial"]
    seed: int
    rules: tuple[Rule, ...]

    @property
    def name(self) -> str:
        return f"{self.kind} {len(self.rules)}"

    def first_match(self, context: Mapping[str, Value]) -> int | None:
        """The plain meaning of the list, that every engine's answers are compared with."""
        for number, rule in enumerate(self.rules):
            if all(test.holds(context) for test in rule.tests):
                return number
        return None

    def answer(self, context: Mapping[str, Value]) -> str:
        number = self.first_match(context)
        return DEFAULT if number is None else self.rules[number].kernel


# ---------------------------------------------------------------- rules


def realistic(count: int, seed: int = 6) -> RuleSet:
    """A tenth of the rules bar something: they send the call to the reference kernel, as a `deny` would."""
    rng = random.Random(f"realistic {count} {seed}")
    rules: dict[tuple[Test, ...], Rule] = {}
    while len(rules) < count:
        tests = _realistic_tests(rng)
        kernel = DEFAULT if rng.random() < 0.1 else rng.choice(KERNELS)
        rules.setdefault(tests, Rule(tests, kernel))
    specific_first = sorted(rules.values(), key=lambda rule: -len(rule.tests))
    return RuleSet("realistic", seed, tuple(specific_first))


def _realistic_tests(rng: random.Random) -> tuple[Test, ...]:
    low = rng.choice(THRESHOLDS)
    long = Between("kv_len", low, RANGES["kv_len"][1])
    within = Between("kv_len", low, rng.choice([bound for bound in THRESHOLDS if bound > low] or [2 * low]) - 1)
    options: tuple[Test, ...] = (
        OneOf("dtype", tuple(sorted(rng.sample(DTYPES, rng.choice((1, 1, 2)))))),
        Between("sm", *rng.choice(ARCHITECTURES)),
        OneOf("head_dim", rng.choice(HEAD_DIMS)),
        rng.choice((long, within, Between("kv_len", 1, low - 1))),
        OneOf("phase", (rng.choice(PHASES),)),
        Between("batch", rng.choice((2, 4, 8, 16, 32, 64)), RANGES["batch"][1]),
        Between("window", 1, RANGES["window"][1]),
    )
    chosen = rng.sample(range(len(options)), rng.choice((2, 3, 3, 4, 4, 5)))
    return tuple(options[number] for number in sorted(chosen))


def adversarial(count: int, seed: int = 6) -> RuleSet:
    rng = random.Random(f"adversarial {count} {seed}")
    rules = []
    for _ in range(count):
        tests = tuple(_random_range(rng, field) for field in sorted(rng.sample(tuple(RANGES), 3)))
        rules.append(Rule(tests, rng.choice(KERNELS)))
    return RuleSet("adversarial", seed, tuple(rules))


def _random_range(rng: random.Random, field: str) -> Between:
    """A twentieth to three tenths of the field's range, anywhere in it."""
    low, high = RANGES[field]
    width = int((high - low) * rng.uniform(0.05, 0.3))
    start = rng.randint(low, high - width)
    return Between(field, start, start + width)


# ---------------------------------------------------------------- contexts


def contexts(rules: RuleSet, count: int, seed: int = 6) -> list[Context]:
    """Distinct contexts of all fields, as such a policy meets them; every third is moved into a random rule."""
    rng = random.Random(f"contexts {rules.name} {seed}")
    draw = _realistic_context if rules.kind == "realistic" else _uniform_context
    found: dict[tuple[Value, ...], Context] = {}
    while len(found) < count:
        context = draw(rng)
        if rng.random() < 1 / 3:
            for test in rng.choice(rules.rules).tests:
                if test.field != "sm":
                    context[test.field] = _inside(rng, test)
        found.setdefault(tuple(context.values()), context)
    return list(found.values())


def _realistic_context(rng: random.Random) -> Context:
    phase = rng.choice(PHASES)
    return {
        "dtype": rng.choice(DTYPES),
        "phase": phase,
        "sm": rng.choice(MODELS),
        "head_dim": rng.choice(ALL_HEAD_DIMS),
        "batch": rng.choice((1, 2, 4, 8, 16, 32, 64, 128)),
        "q_len": 1 if phase == "decode" else rng.randint(2, 8192),
        "kv_len": int(2 ** rng.uniform(4, 18)),
        "q_heads": rng.choice((8, 16, 32, 64)),
        "window": rng.choice((0, 0, 0, 1024, 4096)),
    }


def _uniform_context(rng: random.Random) -> Context:
    """Numbers anywhere in their ranges, but for `sm`: there are as many as there are devices."""
    enums: Context = {field: rng.choice(members) for field, members in ENUMS.items()}
    return enums | {field: rng.randint(*bounds) for field, bounds in RANGES.items()} | {"sm": rng.choice(MODELS)}


def _inside(rng: random.Random, test: Test) -> Value:
    match test:
        case OneOf():
            return rng.choice(test.members)
        case Between():
            return rng.randint(test.low, test.high)


def description(rules: RuleSet, asked: Sequence[Context]) -> dict[str, object]:
    """What a reader needs to judge the figures: how far a linear engine looks, and how many calls no rule matches."""
    matches = [rules.first_match(context) for context in asked]
    looked = sorted(len(rules.rules) if match is None else match + 1 for match in matches)
    return {
        "rules": len(rules.rules),
        "contexts": len(asked),
        "unmatched_share": round(matches.count(None) / len(asked), 3),
        "median_rules_looked_at_in_order": looked[len(looked) // 2],
    }
