"""A program -> what lints look at: its trees, and which of its texts are the reader's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from layerzero.check.program import Kernel, Layer, Program, Rule
from layerzero.notations import Words, is_notation, read
from layerzero.syntax import nodes
from layerzero.syntax.source import Source, Span
from layerzero.syntax.trees import parse_cached


@dataclass(frozen=True)
class Subject:
    """One program under the lints; what others declared is not reported, for it serves every policy."""

    program: Program

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The texts that are looked at: what lies on top of the shipped ones, or these where they are alone."""
        texts = self.program.texts
        own = [text for text in texts if text.layer >= Layer.POLICY and text.source.text.strip()]
        return tuple(text.source for text in own or texts)

    @cached_property
    def trees(self) -> tuple[nodes.File, ...]:
        """The files of the whole program."""
        plain = [text.source for text in self.program.texts if not is_notation(text.source.name)]
        found = [tree for tree, _ in map(parse_cached, plain) if tree is not None]
        words = Words.of(found)
        notations = [text.source for text in self.program.texts if is_notation(text.source.name)]
        return (*found, *(tree for tree, _ in (read(one, words) for one in notations) if tree is not None))

    @cached_property
    def own_trees(self) -> tuple[nodes.File, ...]:
        return tuple(tree for tree in self.trees if self.reports(tree.span))

    def reports(self, span: Span) -> bool:
        return any(span.source is source for source in self.sources)

    def statements(self) -> Iterator[nodes.Statement]:
        for tree in self.own_trees:
            yield from tree.statements

    def rules(self, kind: str) -> list[Rule]:
        return [rule for rule in self.program.rules if rule.kind == kind and self.reports(rule.span)]

    def kernels(self) -> list[Kernel]:
        return [kernel for _, kernel in sorted(self.program.kernels.items()) if self.reports(kernel.span)]
