"""Rules -> the engines that people would use instead, each as its own documentation says for speed.

Compiled once and reused; what an engine lets one parse or bind per context beforehand is done outside of the clock.
Each import stands where it is needed, so that a peer that does not install leaves the others alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers.engines import Built, Engine
from benchmarks.peers.rules import DEFAULT, ENUMS, FIELDS, RANGES, Between, Context, OneOf, Rule, RuleSet, Test, Value


def _joined(rule: Rule, spell: Callable[[Test], str], word: str) -> str:
    return f" {word} ".join(spell(test) for test in rule.tests)


def _bounds(test: Between, name: str, word: str) -> str:
    """`kv_len >= 8192`, both bounds, or `sm == 90`; an end of the field's own range is not asked."""
    low, high = RANGES[test.field]
    if test.low == test.high:
        return f"{name} == {test.low}"
    asked = [f"{name} >= {test.low}"] if test.low > low else []
    asked += [f"{name} <= {test.high}"] if test.high < high else []
    return f" {word} ".join(asked) or f"{name} >= {low}"


# ---------------------------------------------------------------- GoRules zen-engine


class Zen:
    name, package = "zen-engine", "zen-engine"
    how = "one decision table, hit policy `first`, compiled once by a static loader; dictionaries in"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        import zen

        table = {
            "hitPolicy": "first",
            "inputs": [{"id": field, "name": field, "field": field} for field in FIELDS],
            "outputs": [{"id": "kernel", "name": "kernel", "field": "kernel"}],
            "rules": [
                {"_id": f"r{number}", "kernel": json.dumps(rule.kernel)}
                | dict.fromkeys(FIELDS, "")
                | {test.field: _zen(test) for test in rule.tests}
                for number, rule in enumerate(rules.rules)
            ]
            + [{"_id": "default", "kernel": json.dumps(DEFAULT)} | dict.fromkeys(FIELDS, "")],
        }
        nodes = [
            {"id": "in", "name": "in", "type": "inputNode"},
            {"id": "table", "name": "table", "type": "decisionTableNode", "content": table},
            {"id": "out", "name": "out", "type": "outputNode"},
        ]
        edges = [
            {"id": "1", "sourceId": "in", "targetId": "table"},
            {"id": "2", "sourceId": "table", "targetId": "out"},
        ]
        # A static loader compiles the table once; `create_decision(...).evaluate` of 2.1.3 takes 20 times as long.
        content = {"table": {"nodes": nodes, "edges": edges}}
        evaluate = zen.ZenEngine({"loader": {"type": "static", "content": content}}).evaluate

        def decide(context: Context) -> str:
            kernel: str = evaluate("table", context)["result"]["kernel"]
            return kernel

        return Built(decide, lambda context: context)


def _zen(test: Test) -> str:
    match test:
        case OneOf():
            return ", ".join(json.dumps(member) for member in test.members)
        case Between():
            return f"[{test.low}..{test.high}]"


# ---------------------------------------------------------------- Cedar


class Cedar:
    """Cedar's policies have no order: it says which are satisfied, and the first of those is taken here."""

    name, package = "cedarpy", "cedarpy"
    how = "one `permit` per rule in a parsed `PolicySet`, parsed `Entities`; the first satisfied policy is the answer"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        import cedarpy

        texts = [
            f"permit(principal, action, resource) when {{ {_joined(rule, _cedar, '&&')} }};" for rule in rules.rules
        ]
        policies = cedarpy.PolicySet.from_str("\n".join(texts))
        entities = cedarpy.Entities.from_json_str("[]")
        kernels = [rule.kernel for rule in rules.rules]

        def decide(request: dict[str, Any]) -> str:
            satisfied = cedarpy.is_authorized(request, policies, entities).diagnostics.reasons
            # Policies are named by their place: policy0, policy1, ...
            return kernels[min(int(name[6:]) for name in satisfied)] if satisfied else DEFAULT

        def prepare(context: Context) -> dict[str, Any]:
            return {
                "principal": {"type": "Caller", "id": "torch"},
                "action": {"type": "Action", "id": "attention"},
                "resource": {"type": "Operation", "id": "attention"},
                "context": json.dumps(context),
            }

        return Built(decide, prepare)


def _cedar(test: Test) -> str:
    name = f"context.{test.field}"
    match test:
        case OneOf(_, (member,)):
            return f"{name} == {json.dumps(member)}"
        case OneOf():
            return f"{json.dumps(test.members)}.contains({name})"
        case Between():
            return _bounds(test, name, "&&")


# ---------------------------------------------------------------- CEL


class CelCpp:
    """Google's CEL in C++; it refuses expressions that are nested deeper than 32."""

    name, package = "cel-expr-python", "cel-expr-python"
    how = "checked expressions `c1 ? k1 : c2 ? k2 ...` of 20 rules (nesting is bounded), one `Activation` per context"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        from cel_expr_python import cel

        types = dict.fromkeys(ENUMS, cel.Type.STRING) | dict.fromkeys(RANGES, cel.Type.INT)
        environment = cel.NewEnv(variables=types)
        parts = [environment.compile(text) for text in _conditionals(rules, 20)]

        def decide(activation: Any) -> str:
            for part in parts:
                kernel: str = part.eval(activation).value()
                if kernel:
                    return kernel
            return DEFAULT

        return Built(decide, environment.Activation)


class CelRust:
    """The CEL of the Rust `cel` crate."""

    name, package = "common-expression-language", "common-expression-language"
    how = "compiled programs `c1 ? k1 : c2 ? k2 ...` of 60 rules (nesting is bounded), one `Context` object per context"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        import cel

        parts = [cel.compile(text) for text in _conditionals(rules, 60)]

        def decide(context: Any) -> str:
            for part in parts:
                kernel: str = part.execute(context)
                if kernel:
                    return kernel
            return DEFAULT

        return Built(decide, lambda context: cel.Context(variables=context))


def _conditionals(rules: RuleSet, in_a_row: int) -> list[str]:
    """The list cut into conditional expressions; an empty string is "none of these"."""
    texts = []
    for start in range(0, len(rules.rules), in_a_row):
        text = '""'
        for rule in reversed(rules.rules[start : start + in_a_row]):
            text = f"{_joined(rule, _cel, '&&')} ? {json.dumps(rule.kernel)} : {text}"
        texts.append(text)
    return texts


def _cel(test: Test) -> str:
    match test:
        case OneOf(field, (member,)):
            return f"{field} == {json.dumps(member)}"
        case OneOf():
            return f"{test.field} in {json.dumps(test.members)}"
        case Between():
            return _bounds(test, test.field, "&&")


# ---------------------------------------------------------------- Rego


class Rego:
    """OPA's Rego as rego-cpp runs it: `else` is Rego's first match."""

    name, package = "regopy", "regopy"
    how = "one rule with `else` branches, built once into a bundle, one `Input` object per context"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        from regopy import Input, Interpreter

        lines = ["package kernels", "import rego.v1", f"default choice := {json.dumps(DEFAULT)}"]
        for number, rule in enumerate(rules.rules):
            head = "choice" if number == 0 else "else"
            lines.append(f"{head} := {json.dumps(rule.kernel)} if {{ {_joined(rule, _rego, ';')} }}")
        compiler = Interpreter()
        compiler.add_module("kernels", "\n".join(lines))
        bundle = compiler.build(None, ["kernels/choice"])
        if not bundle.ok:
            raise ValueError(f"rego-cpp cannot build the rules: {str(bundle.node)[:200]}")
        interpreter = Interpreter()

        def decide(given: Any) -> str:
            interpreter.set_input(given)
            return str(interpreter.query_bundle_entrypoint(bundle, "kernels/choice").results[0].expressions[0])

        return Built(decide, Input)


def _rego(test: Test) -> str:
    name = f"input.{test.field}"
    match test:
        case OneOf(_, (member,)):
            return f"{name} == {json.dumps(member)}"
        case OneOf():
            return f"{name} in {{{', '.join(json.dumps(member) for member in test.members)}}}"
        case Between():
            return _bounds(test, name, ";")


# ---------------------------------------------------------------- rule-engine


class RuleEngine:
    name, package = "rule-engine", "rule-engine"
    how = "typed `Rule` objects made once, `matches` in order until one does"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        import rule_engine

        kinds = dict.fromkeys(ENUMS, rule_engine.DataType.STRING)
        kinds |= dict.fromkeys(RANGES, rule_engine.DataType.FLOAT)
        typed = rule_engine.Context(type_resolver=rule_engine.type_resolver_from_dict(kinds))
        made = [
            (rule_engine.Rule(_joined(rule, _rule_engine, "and"), context=typed).matches, rule.kernel)
            for rule in rules.rules
        ]

        def decide(context: Context) -> str:
            for matches, kernel in made:
                if matches(context):
                    return kernel
            return DEFAULT

        return Built(decide, lambda context: context)


def _rule_engine(test: Test) -> str:
    match test:
        case OneOf(field, (member,)):
            return f"{field} == {json.dumps(member)}"
        case OneOf():
            return f"{test.field} in {json.dumps(test.members)}"
        case Between():
            return _bounds(test, test.field, "and")


# ---------------------------------------------------------------- business-rules


class BusinessRules:
    name, package = "business-rules", "business-rules"
    how = "`run_all` with `stop_on_first_trigger`, one variables object per context"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        from business_rules import run_all
        from business_rules.actions import BaseActions, rule_action
        from business_rules.fields import FIELD_TEXT
        from business_rules.variables import BaseVariables, numeric_rule_variable, string_rule_variable

        class Variables(BaseVariables):  # type: ignore[misc]
            def __init__(self, context: Context) -> None:
                self.context = context

        for field in FIELDS:
            kind = string_rule_variable if field in ENUMS else numeric_rule_variable
            setattr(Variables, field, kind()(_reader(field)))

        class Actions(BaseActions):  # type: ignore[misc]
            kernel = DEFAULT

            @rule_action(params={"name": FIELD_TEXT})
            def choose(self, name: str) -> None:
                self.kernel = name

        made = [
            {
                "conditions": {"all": [condition for test in rule.tests for condition in _business_rules(test)]},
                "actions": [{"name": "choose", "params": {"name": rule.kernel}}],
            }
            for rule in rules.rules
        ]

        def decide(variables: Variables) -> str:
            actions = Actions()
            run_all(made, variables, actions, stop_on_first_trigger=True)
            return actions.kernel

        return Built(decide, Variables)


def _reader(field: str) -> Callable[[Any], Value]:
    def read(self: Any) -> Value:
        value: Value = self.context[field]
        return value

    read.__name__ = field
    return read


def _business_rules(test: Test) -> list[dict[str, Any]]:
    def condition(operator: str, value: Value) -> dict[str, Any]:
        return {"name": test.field, "operator": operator, "value": value}

    match test:
        case OneOf():
            same = [condition("equal_to", member) for member in test.members]
            return same if len(same) == 1 else [{"any": same}]
        case Between():
            low, high = RANGES[test.field]
            if test.low == test.high:
                return [condition("equal_to", test.low)]
            asked = [condition("greater_than_or_equal_to", test.low)] if test.low > low else []
            asked += [condition("less_than_or_equal_to", test.high)] if test.high < high else []
            return asked or [condition("greater_than_or_equal_to", low)]


# ---------------------------------------------------------------- CLIPS


class Clips:
    name, package = "clipspy", "clipspy"
    how = "one rule each with falling salience over one template; assert, `run(1)`, read, retract"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        import clips

        environment = clips.Environment()
        environment.build(f'(defglobal ?*kernel* = "{DEFAULT}")')
        environment.build(f"(deftemplate call {' '.join(f'(slot {field})' for field in FIELDS)})")
        for number, rule in enumerate(rules.rules):
            slots: dict[str, list[str]] = {}
            for test in rule.tests:
                slots.setdefault(test.field, []).append(_clips(test))
            pattern = " ".join(f"({field} ?{field}&{'&'.join(tests)})" for field, tests in slots.items())
            environment.build(
                f"(defrule r{number} (declare (salience {len(rules.rules) - number})) (call {pattern})"
                f' => (bind ?*kernel* "{rule.kernel}"))'
            )
        template = environment.find_template("call")
        chosen = environment.find_global("kernel")
        strings = {member: clips.Symbol(member) for members in ENUMS.values() for member in members}

        def decide(context: dict[str, Any]) -> str:
            chosen.value = DEFAULT
            fact = template.assert_fact(**context)
            environment.run(1)
            fact.retract()
            return str(chosen.value)

        def prepare(context: Context) -> dict[str, Any]:
            return {field: strings[value] if isinstance(value, str) else value for field, value in context.items()}

        return Built(decide, prepare)


def _clips(test: Test) -> str:
    match test:
        case OneOf():
            return "|".join(str(member) for member in test.members)
        case Between():
            return f":(<= {test.low} ?{test.field} {test.high})"


PEERS: tuple[Engine, ...] = (
    Zen(),
    Cedar(),
    CelCpp(),
    CelRust(),
    Rego(),
    RuleEngine(),
    BusinessRules(),
    Clips(),
)
