"""Random `.lzp` texts, written as people write them: any spacing, comments anywhere, any form of the language.

They are text, not nodes, so that the generator cannot share a mistake with the printer. A seed stands for a text:
nested strategies of the same size took Hypothesis minutes to set up.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import strategies as st

# Keywords are names wherever no keyword can stand; reserved words stand in backquotes.
WORDS = "a sm head_dim kv_len bf16 x1 _y owner device lock when_ field test arm by control error `in` `max`".split()
IDS = [*WORDS, "flash_attn.v3", "torch.sdpa_math", "attention.decode", "`not`.in", "a.b.c"]
PATTERNS = [*IDS, "*", "torch.*", "torch.sdpa_*", "*.v3", "f*n.*"]
STRINGS = ['"x"', '""', '"a \\"b\\" \\u00e9 \\n"', '"日本 # no comment"', '"\\ud83d\\ude00 {"']
GLOBS = ['"*H100*"', '"[ab]?"', '"[!a-c]*"', '"\\\\[x"', '"[]a]"']
INTEGERS = ["0", "1", "80", "8Ki", "1_000", "2Mi", "9223372036854775807"]
NUMBERS = [*INTEGERS, "0.5", "1e-5", "2.50", "1E+3", "1_0.2_5e1"]
PERCENTAGES = ["0%", "50%", "12.5%", "100 %", "0.01%", "33.333%"]
DAYS = ["2027-03-01", "2024-02-29", "0001-01-01"]
GAPS = [" "] * 12 + ["  ", "\n", "\n  ", "\t", " # why\n", "\n\n\n# alone\n\n", "\r\n"]
VERSIONS = [">=1.4", "<2", "!=1.5.1", "==2.8.*", "~= 3.0", "== 1.0+cu118"]


class Writer:
    """Writes one text; every choice comes from `random`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.one = self.random.choice

    def file(self) -> str:
        ends = ["\n", "\n\n", " ", " # end\n"]
        return "".join(self.statement() + self.one(ends) for _ in range(self.random.randint(0, 4)))

    # ------------------------------------------------------------------------------------------------ building blocks

    def gaps(self, *parts: str) -> str:
        """The parts that are there, with a gap between two."""
        there = [part for part in parts if part]
        return there[0] + "".join(self.one(GAPS) + part for part in there[1:])

    def some(self, make: Callable[[], str], least: int = 1, most: int = 3, between: str = ",") -> str:
        made = [make() for _ in range(self.random.randint(least, most))]
        return (between + " ").join(made)

    def maybe(self, make: Callable[[], str]) -> str:
        return make() if self.random.random() < 0.5 else ""

    def word(self) -> str:
        return self.one(WORDS)

    def id(self) -> str:
        return self.one(IDS)

    def pattern(self) -> str:
        return self.one(PATTERNS)

    def string(self) -> str:
        return self.one(STRINGS)

    def block(self, head: str, item: Callable[[], str], least: int = 0, between: str = "") -> str:
        inner = [item() for _ in range(self.random.randint(least, 4))]
        parts = [part + between for part in inner[:-1]] + inner[-1:]
        return self.gaps(head, "{", *parts, "}")

    # ---------------------------------------------------------------------------------------------------- expressions

    def expression(self, depth: int = 3) -> str:
        if depth == 0 or self.random.random() < 0.25:
            return self.leaf()
        inner = self.operand
        match self.random.randrange(12):
            case 0:
                return f"({self.gaps(self.expression(depth - 1))})"
            case 1:
                return self.gaps(inner(depth), "and", inner(depth), "and", self.unary(depth))
            case 2:
                return self.gaps(inner(depth), "or", self.unary(depth), "and", inner(depth))
            case 3:
                return self.gaps("not", inner(depth))
            case 4:
                return self.gaps(inner(depth), self.one(["==", "!=", "<", "<=", ">", ">="]), inner(depth))
            case 5:
                return self.gaps(inner(depth), self.one(["<", "<="]), inner(depth), self.one(["<", "=="]), inner(depth))
            case 6:
                signs = ["+", "-", "*", "//", "%"]
                return self.gaps(inner(depth), self.one(signs), inner(depth), self.one(signs), inner(depth))
            case 7:
                return f"-{inner(depth)}"
            case 8:
                return f"{self.one(['min', 'max'])}({self.some(lambda: self.expression(depth - 1), 2, 3)})"
            case 9:
                return self.gaps(inner(depth), "if", self.unary(depth), "else", self.expression(depth - 1))
            case 10:
                items = self.some(lambda: self.one([self.range(), inner(depth)]))
                right = self.one([f"{{{items}}}", self.range()])
                return self.gaps(inner(depth), self.one(["in", "not in"]), right)
            case _:
                return self.gaps(inner(depth), self.one(["like", "not like"]), self.one(GLOBS))

    def operand(self, depth: int) -> str:
        return self.leaf() if self.random.random() < 0.6 else f"({self.expression(depth - 1)})"

    def unary(self, depth: int) -> str:
        return self.one([self.operand(depth), self.gaps("not", self.operand(depth))])

    def leaf(self) -> str:
        special = ["true", "false", "null", "kernel.vendor_support", 'package("flash-attn")', "has(tenant)"]
        return self.one([self.word(), self.word(), self.one(NUMBERS), self.string(), self.one(special)])

    def range(self) -> str:
        low, high = self.bound(), self.bound()
        return self.one([f"{low}..{high}", f"{low}..<{high}", f"{low}..", f"..{high}", f"..<{high}"])

    def bound(self) -> str:
        return self.one([self.one(NUMBERS), f"-{self.one(NUMBERS)}", "lo", "hi", "`owner`"])

    # ---------------------------------------------------------------------------------------------------------- rules

    def rule(self) -> str:
        head = self.one(["quarantine", "lock", "allow", "deny", "boost", "order"])
        target = self.target()
        if head == "boost":
            target = self.gaps(target, "by", self.one(NUMBERS))
        elif head == "order":
            target = self.some(self.target, 1, 4, " >")
        return self.gaps(head, target, self.maybe(lambda: self.gaps("for", self.some(self.id))), self.clauses())

    def target(self) -> str:
        return self.one([self.pattern(), self.pattern(), f"{{{self.some(self.pattern)}}}"])

    def clauses(self) -> str:
        made = [
            ("when", self.expression()),
            ("priority", self.one(INTEGERS)),
            ("as", self.word()),
            ("because", self.string()),
            ("owner", self.string()),
            ("until", self.one(DAYS)),
            ("else", self.one(["fail", "choose", "fallback"])),
        ]
        chosen = self.random.sample(made, self.random.randint(0, 4))
        return self.gaps(*(self.gaps(*pair) for pair in chosen)) if chosen else ""

    # ----------------------------------------------------------------------------------------------------- statements

    def statement(self) -> str:
        makers = [
            self.rule, self.rule, self.rule, self.policy, self.field, self.attribute, self.operation, self.extend,
            self.kernel, self.backend, self.alias, self.context, self.define, self.define, self.experiment, self.test,
            lambda: self.gaps("import", self.string()),
        ]  # fmt: skip
        return self.one(makers)()

    def policy(self) -> str:
        words = self.one(["", "strict", "version 7", 'version "1.2" standalone strict'])
        return self.gaps("policy", self.string(), words)

    def type(self) -> str:
        return self.one(["bool", "int", "float", "string", "version", f"enum({self.some(self.word)})"])

    def field(self) -> str:
        span = self.maybe(lambda: self.gaps("in", self.range()))
        default = self.maybe(lambda: self.gaps("=", self.expression(2)))
        return self.gaps("field", self.word(), ":", self.type(), span, default, self.maybe(self.string))

    def attribute(self) -> str:
        return self.gaps("attribute", self.word(), ":", self.type(), self.maybe(lambda: f"= {self.expression(1)}"))

    def define(self) -> str:
        return self.gaps("define", self.word(), "=", self.expression(4))

    def alias(self) -> str:
        return self.gaps("alias", self.id(), "=", self.pattern())

    def assignment(self) -> str:
        return self.gaps(self.word(), "=", self.expression(2))

    def context(self) -> str:
        return self.block(self.gaps(self.one(["context", "device"]), self.word()), self.assignment, between=",")

    def named_condition(self) -> str:
        return self.gaps(self.one(["view", "feature"]), self.word(), "when", self.expression(2))

    def operation(self) -> str:
        def item() -> str:
            listed = self.gaps(self.one(["needs", "optional"]), self.some(self.word))
            return self.one([self.string(), listed, self.named_condition(), self.gaps("fallback", self.some(self.id))])

        return self.block(self.gaps("operation", self.id()), item)

    def extend(self) -> str:
        def item() -> str:
            return self.one([self.gaps("optional", self.some(self.word)), self.named_condition()])

        return self.block(self.gaps("extend", self.id()), item)

    def kernel(self) -> str:
        return self.block(self.gaps("kernel", self.id(), "for", self.some(self.id)), self.fact)

    def backend(self) -> str:
        return self.block(self.gaps("backend", self.word()), self.fact)

    def fact(self) -> str:
        when = self.maybe(lambda: self.gaps("when", self.expression(2)))
        because = self.maybe(lambda: self.gaps("because", self.string()))
        return self.one([
            self.string(),
            self.gaps("package", self.some(self.package, 1, 2, " |")),
            self.gaps("require", self.expression(), when, because),
            self.gaps("supports", self.some(self.word), when),
            self.gaps("set", self.some(self.assignment, 1, 2)),
            self.gaps("source", self.string()),
            self.gaps("priority", self.one(INTEGERS)),
            self.gaps("adapter", self.string()),
        ])  # fmt: skip

    def package(self) -> str:
        versions = self.maybe(lambda: self.some(lambda: self.one(VERSIONS)))
        return self.gaps(self.one(["acme-kernels", "A", "flash_attn"]), versions)

    def experiment(self) -> str:
        share = self.maybe(lambda: self.gaps("share", self.one(PERCENTAGES)))
        salt = self.maybe(lambda: self.gaps("salt", self.string()))
        return self.block(self.gaps("experiment", self.word(), "on", self.word(), share, salt), self.arm)

    def arm(self) -> str:
        head = self.gaps("arm", self.word(), self.one(PERCENTAGES))
        number = self.one(NUMBERS)
        limit = self.one([self.one(PERCENTAGES), number, self.gaps(number, "*", "control")])
        guard = self.gaps("guard", self.word(), self.one(["<", "<=", ">", ">="]), limit)
        return self.one([head, self.block(head, self.rule, 1), guard])

    def test(self) -> str:
        given = self.gaps("given", self.some(self.given, 1, 4))
        whenever = self.gaps("whenever", self.id(), self.maybe(lambda: self.gaps("when", self.expression(2))))
        expects = [self.expect() for _ in range(self.random.randint(1, 3))]
        return self.gaps("test", self.string(), "{", self.one([given, whenever]), *expects, "}")

    def given(self) -> str:
        package = self.gaps("package", "acme-kernels", self.one(["==1.5.1", ">=1, <2"]))
        name = self.one(["h100", "attention.decode", "llama", "`arm`"])
        return self.one([name, self.assignment(), self.gaps("arm", "faster.acme"), package])

    def expect(self) -> str:
        claim = self.one([
            "degraded", "error", "acme.*", "{a, b}", "`by`", "`error` by `degraded`",
            self.gaps("by", self.word()), self.gaps(self.one(["acme.decode", "*"]), "by", self.word()),
        ])  # fmt: skip
        return self.gaps("expect", self.maybe(lambda: "not"), claim)


files = st.integers(0, 2**48).map(lambda seed: Writer(seed).file())
