"""The form of each statement in one line, for help lines."""

from __future__ import annotations

_CLAUSES = 'when CONDITION as NAME because "..." owner "..." until DATE'

USAGE = {
    "policy": 'policy "NAME" version 1',
    "import": 'import "FILE.lzp"',
    "field": 'field NAME: TYPE in LOW..HIGH = DEFAULT "doc"',
    "attribute": "attribute NAME: TYPE = DEFAULT",
    "operation": "operation NAME { needs F, G  view V when CONDITION  feature X when CONDITION  fallback A }",
    "extend": "extend OPERATION { optional F  feature X when CONDITION  view V when CONDITION }",
    "backend": "backend NAME { package P >=1.0  require CONDITION  supports F, G  set ATTRIBUTE = VALUE }",
    "kernel": "kernel ID for OPERATION { require CONDITION  supports F, G  set ATTRIBUTE = VALUE }",
    "alias": "alias NEW = OLD",
    "context": "context NAME { FIELD = VALUE, FIELD = VALUE }",
    "device": "device NAME { FIELD = VALUE, FIELD = VALUE }",
    "define": "define NAME = CONDITION",
    "quarantine": f"quarantine PATTERN for OPERATION {_CLAUSES}",
    "lock": f"lock PATTERN for OPERATION {_CLAUSES} else choose",
    "allow": f"allow PATTERN for OPERATION {_CLAUSES}",
    "deny": f"deny PATTERN for OPERATION {_CLAUSES}",
    "boost": f"boost PATTERN by FACTOR for OPERATION {_CLAUSES}",
    "order": f"order PATTERN > PATTERN > * for OPERATION {_CLAUSES}",
    "experiment": "experiment NAME on FIELD share 20% { arm A 50%  arm B 50% { RULES }  guard METRIC < 1% }",
    "test": 'test "what it shows" { given OPERATION, CONTEXT, FIELD = VALUE  expect PATTERN }',
}
