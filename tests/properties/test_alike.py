"""`lz decide` writes one text for all contexts that are decided for the same reasons, and fills in their values: over
random policies it is the text of each context's own proof."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from types import ModuleType

from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.cli.answers import Interpreted
from layerzero.cli.texts import Proofs
from layerzero.errors import PolicyError
from layerzero.semantics.decision_json import decision_json
from layerzero.semantics.interpret import decide

POLICIES, CONTEXTS = 14, 20


def _generators() -> ModuleType:
    """The module beside this file; the test folders are no packages."""
    import importlib.util
    import sys
    from pathlib import Path

    if "generators" not in sys.modules:
        spec = importlib.util.spec_from_file_location("generators", Path(__file__).with_name("generators.py"))
        assert spec is not None and spec.loader is not None
        sys.modules["generators"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["generators"])
    return sys.modules["generators"]


def neighbours(values: Mapping[str, Value], rng: random.Random) -> Iterator[Mapping[str, Value]]:
    """The context, and some in which one number is another."""
    yield values
    numbers = [name for name in ("n", "m", "big", "x", "y") if name in values]
    for name in rng.sample(numbers, min(3, len(numbers))):
        value = values[name]
        assert isinstance(value, int | float)
        near = {"n": range(64), "m": range(1, 32), "big": range(-9, 9), "x": (0.25, -7.5), "y": (0.125, 0.75)}
        yield {**values, name: rng.choice([one for one in near[name] if one != value])}


def test_one_text_serves_all_contexts_that_are_decided_for_the_same_reasons() -> None:
    made = texts = shared = seed = 0
    while made < POLICIES:
        seed += 1
        try:
            case = _generators().make_case(seed, CONTEXTS)
        except PolicyError:
            continue
        made += 1
        proofs = Proofs(Interpreted(case.program, case.environment), (), None)
        rng = random.Random(seed)
        asked = [(Scope(o), values, arms) for o, first, arms in case.contexts for values in neighbours(first, rng)]
        for scope, values, arms in asked:
            before = proofs.used
            text = proofs.text(scope, values, arms)
            own = decide(case.program, case.environment, scope, values, arms)
            if own.error is not None:
                assert text is None
                continue
            assert text == json.dumps(decision_json(case.program, own), ensure_ascii=False), (seed, values, arms)
            texts += 1
            shared += proofs.used > before
    print(f"\n{texts} texts of {made} policies, {shared} of them made for another context")
    assert shared > 100
