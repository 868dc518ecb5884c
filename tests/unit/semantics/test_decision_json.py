"""The `lz.decision/1` object: every key, always."""

from __future__ import annotations

import json
import math

from packaging.version import Version

from layerzero.semantics.decision_json import decision_json, error_json, json_value
from tests.unit.semantics.build import decided, program

TEXT = """policy "prod" version 7
field n: int
field v: version
operation o { optional n, v feature wide when n > 9 fallback ref.o }
kernel k.a for o { require n in {1, 2} because "tile" supports wide when n > 100 }
kernel k.b for o { priority 40 supports wide package lib >=2 }
kernel k.c for o { priority 30 supports wide }
kernel ref.o for o { priority 0 supports wide }
boost k.b by 1.5
deny k.c for o when v >= "1.0" as no_c because "slow"
experiment e on n { arm a 100% { } }
"""
KEYS = [
    "schema", "kernel", "score", "degraded", "locked_by", "ordered_by", "arm", "policy", "rejected", "outranked",
    "assumed", "error",
]  # fmt: skip


def test_the_whole_object() -> None:
    made = program(TEXT)
    found = decision_json(made, decided(TEXT, {"n": 20, "v": "1.2"}, e="a"))
    assert list(found) == KEYS
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "schema": "lz.decision/1",
        "kernel": "k.b",
        "score": 60.0,
        "degraded": False,
        "locked_by": [],
        "ordered_by": [],
        "arm": {"e": "a"},
        "policy": {"name": "prod", "version": "7", "digest": made.digest},
        "rejected": {
            "k.a": [
                {
                    "kind": "requirement",
                    "text": "n in {1, 2}",
                    "got": {"n": 20},
                    "at": "<text>:5:28",
                    "because": "tile",
                },
                {"kind": "feature", "text": "n > 100", "got": {"n": 20}, "at": "<text>:5:74", "feature": "wide"},
            ],
            "k.c": [
                {
                    "kind": "denied",
                    "text": 'v >= "1.0"',
                    "got": {"v": "1.2"},
                    "at": "<text>:10:1",
                    "because": "slow",
                    "rule": "no_c",
                }
            ],
        },
        "outranked": {"ref.o": 0.0},
        "assumed": ["package lib >=2"],
        "error": None,
    }


def test_an_error_has_the_same_keys() -> None:
    made = program(TEXT)
    found = error_json(made, "invalid_context", "unknown field `m`")
    assert list(found) == KEYS
    assert (found["kernel"], found["error"]) == (None, {"code": "invalid_context", "message": "unknown field `m`"})
    failed = decision_json(made, decided(TEXT + "deny * for o", {"n": 1}))
    assert list(failed) == KEYS
    assert failed["kernel"] is None
    assert failed["score"] is None
    assert failed["arm"] is None


def test_missing_fields_are_named_and_absent_values_are_null() -> None:
    found = decision_json(program(TEXT), decided(TEXT, {}))["rejected"]
    assert isinstance(found, dict)
    assert found["k.a"][0]["got"] == {"n": None}
    assert found["k.a"][0]["missing"] == ["n"]


def test_every_number_is_json() -> None:
    assert json_value(Version("2.0.0")) == "2.0.0"
    assert json_value(math.nan) == "NaN"
    assert json_value(math.inf) == 1.7976931348623157e308
