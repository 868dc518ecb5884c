"""Contexts -> the lines that `lz decide` prints, for the many that are plain: what is the same is written once.

None for a context that has to be looked at closely, which `decide_line` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.cli.answers import Compiled, Interpreted, Json
from layerzero.errors import ContextError
from layerzero.semantics.alike import Alike
from layerzero.semantics.context_reader import ContextReader
from layerzero.semantics.decision_json import decision_json, json_value
from layerzero.semantics.experiments import enrol
from layerzero.semantics.proof import Outcome, Proof

MOST_TEXTS = 65_536
MOST_PROOFS = 4096
TRIED = 2000
"""Proofs that have to be made before it is asked whether any was of use again."""
_NO_ARMS: Mapping[str, str] = {}


class Texts:
    """Contexts -> the JSON of some fields, for the many that are plain and have an answer; each text is made once."""

    def __init__(self, compiled: Compiled, fields: tuple[str, ...], device: str | None) -> None:
        self._compiled, self._fields = compiled, fields
        self._reader = ContextReader(compiled.program, device)
        self._enrols = bool(compiled.program.experiments)
        self._texts: dict[int, tuple[Outcome, str]] = {}

    def __call__(self, context: Mapping[str, object]) -> str | None:
        """None for a context that has to be looked at closely."""
        read = self._reader.quick(context)
        if read is None or self._enrols:
            return None
        outcome = self._compiled.outcome(*read, _NO_ARMS)
        if outcome is None:
            return None
        known = self._texts.get(id(outcome))
        return known[1] if known is not None else self._text(outcome)

    def _text(self, outcome: Outcome) -> str | None:
        if outcome.error is not None:
            return None
        found = self._compiled.shown(outcome, _NO_ARMS)
        text = json.dumps({name: found[name] for name in self._fields}, ensure_ascii=False)
        if len(self._texts) >= MOST_TEXTS:
            self._texts.clear()
        self._texts[id(outcome)] = (outcome, text)  # holds the outcome, so that its id stays its own
        return text


class Proofs:
    """Contexts -> the JSON of whole decisions. Those that are decided for the same reasons have one text, with gaps for
    the values that the reasons show."""

    def __init__(self, interpreted: Interpreted, fields: tuple[str, ...], device: str | None) -> None:
        self._interpreted, self._fields = interpreted, fields
        self._reader = ContextReader(interpreted.program, device)
        self._alike: dict[str, Alike] = {}
        self._texts: dict[tuple[str, int], _Text | None] = {}
        self.made = self.used = 0

    def __call__(self, context: Mapping[str, object]) -> str | None:
        """None for a context that has to be looked at closely."""
        read = self._reader.quick(context)
        if read is None or (self.made >= TRIED and self.used < self.made):
            return None
        program = self._interpreted.program
        return self.text(*read, enrol(program, read[1]) if program.experiments else _NO_ARMS)

    def text(self, scope: Scope, given: Mapping[str, Value], arms: Mapping[str, str]) -> str | None:
        """The same for values as `read_context` gives them."""
        alike = self._alike.get(scope.operation) or self._new(scope.operation)
        try:
            number, values = alike(scope, given, arms)
        except ContextError:
            return None
        key = scope.operation, number
        if key in self._texts:
            self.used += 1
            text = self._texts[key]
        else:
            self.made += 1
            if len(self._texts) >= MOST_PROOFS:
                self._texts.clear()
            text = self._texts[key] = self._text(alike.proof(scope, given, arms))
        return None if text is None else text.filled(values)

    def _new(self, operation: str) -> Alike:
        program, environment = self._interpreted.program, self._interpreted.environment
        found = self._alike[operation] = Alike(program, environment, program.operations[operation])
        return found

    def _text(self, proof: Proof) -> _Text | None:
        if proof.error is not None:
            return None
        found, gaps = decision_json(self._interpreted.program, proof), 0
        for reasons in cast("dict[str, list[Json]]", found["rejected"]).values():
            for reason in reasons:
                if reason["kind"] not in ("package", "breaker"):  # the others show what a condition read
                    gaps += self._mark(cast(Json, reason["got"]))
        shown = {name: found[name] for name in self._fields} if self._fields else found
        text = json.dumps(shown, ensure_ascii=False)
        if text.count(_MARK) != (gaps if "rejected" in shown else 0):
            return None  # the policy has texts that look like ours
        return _Text.marked(text)

    def _mark(self, got: Json) -> int:
        names = got.keys() & self._interpreted.program.fields.keys()
        got.update((name, f"\0{name}") for name in names)
        return len(names)


_MARK = "\\u0000"
_GAP = re.compile(r'"\\u0000([^"]*)"')


@dataclass(frozen=True, slots=True)
class _Text:
    """`{..., "got": {"head_dim": %(head_dim)s}, ...}`"""

    text: str
    names: tuple[str, ...]

    @classmethod
    def marked(cls, text: str) -> _Text:
        names = tuple(dict.fromkeys(_GAP.findall(text)))
        return cls(_GAP.sub(r"%(\1)s", text.replace("%", "%%")), names)

    def filled(self, values: Mapping[str, Value]) -> str:
        return self.text % {name: _spelt(values.get(name)) for name in self.names}


def _spelt(value: Value | None) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return _spelt_text(value)
    return json.dumps(None if value is None else json_value(value))


@lru_cache(maxsize=4096)
def _spelt_text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
