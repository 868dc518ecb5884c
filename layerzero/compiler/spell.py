"""Proposition of a form -> a condition that people can read, near to the language."""

from __future__ import annotations

from collections.abc import Sequence

from layerzero.compiler.terms import UNKNOWN, Term

LONGEST = 160
"""Characters after which the text is cut: a probe may hold thousands of terms."""

_OPPOSITE = {"==": "!=", "<": ">=", "<=": ">"}


def spell(terms: Sequence[Term], proposition: int) -> str:
    text = _Spelling(terms).proposition(proposition, 12)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


class _Spelling:
    """`depth` bounds how far the text goes down: what lies deeper is `...`."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = terms

    def proposition(self, number: int, depth: int) -> str:
        node = self.terms[number]
        if depth == 0:
            return "..."
        if node[0] in ("all", "any"):
            word = " and " if node[0] == "all" else " or "
            return word.join(self._grouped(part, depth - 1) for part in node[1:])
        if node[0] == "is":
            return self._literal(node[1], node[2], depth)
        return self.value(number, depth)

    def _grouped(self, number: int, depth: int) -> str:
        text = self.proposition(number, depth)
        return f"({text})" if self.terms[number][0] in ("all", "any") and text != "..." else text

    def _literal(self, atom: int, allowed: int, depth: int) -> str:
        node, text = self.terms[atom], self.value(atom, depth)
        match allowed:
            case 1:  # TRUE
                return text
            case 2 | 6 if node[0] == "compare":
                left, right = self.value(node[2], depth - 1), self.value(node[3], depth - 1)
                return f"{left} {_OPPOSITE[node[1]]} {right}" + (" or unknown" if allowed & UNKNOWN else "")
            case 2 | 6:
                return f"not {text}" + (" or unknown" if allowed & UNKNOWN and node[0] not in ("has", "arm") else "")
            case 5:
                return f"{text} or unknown"
            case 4:
                return f"{text} is unknown"
            case _:
                return f"{text} is known"

    def value(self, number: int, depth: int) -> str:
        node = self.terms[number]
        if depth <= 0:
            return "..."
        match node[0]:
            case "const":
                if node[1] in ("string", "version"):
                    return f'"{node[2]}"' if node[1] == "version" else str(node[2])
                return str(node[2]).lower()
            case "field":
                return str(node[1])
            case "has":
                return f"has({node[1]})"
            case "arm":
                return f"arm {node[1]}.{node[2]}"
            case "compare":
                return f"{self.value(node[2], depth - 1)} {node[1]} {self.value(node[3], depth - 1)}"
            case "like":
                return f'{self.value(node[1], depth - 1)} like "{node[2]}"'
            case "negate":
                return f"-{self.value(node[2], depth - 1)}"
            case "arithmetic":
                return f"({self.value(node[3], depth - 1)} {node[2]} {self.value(node[4], depth - 1)})"
            case "extremum":
                return f"{node[2]}({', '.join(self.value(part, depth - 1) for part in node[3:])})"
            case "choose" | "either":
                condition, then, otherwise = node[-3:]
                parts = [self.value(part, depth - 1) for part in (then, condition, otherwise)]
                return f"({parts[0]} if {parts[1]} else {parts[2]})"
            case "not":
                return f"not ({self.value(node[1], depth - 1)})"
            case "and" | "or":
                return f" {node[0]} ".join(f"({self.value(part, depth - 1)})" for part in node[1:])
            case "is" | "all" | "any":
                return self.proposition(number, depth - 1)
            case _:
                return str(node[0])
