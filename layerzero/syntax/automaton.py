"""The automaton of the grammar, run over a text: states, a stack of values, and a lexer that asks the state.

The contextual lexer tries only the terminals that the state can take, which is why `owner` is a keyword after a
condition and a field's name inside one. There is no recursion: a text's depth costs stack entries, not frames.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from layerzero.syntax.limits import MAX_NESTING, MAX_TOKEN_CHARACTERS
from layerzero.syntax.tables import Tables

BLANKS = re.compile(r"(?:[ \t\r\n\f]+|#[^\n]*)*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
END = "$END"

Make = Callable[[str, list[Any], int, int], Any]


class Token(str):
    """A word as written, with its place: `torch.sdpa_*`, a PATTERN at characters 14 to 26."""

    __slots__ = ("end", "kind", "start")

    def __new__(cls, text: str, kind: str, start: int, end: int) -> Token:
        token = super().__new__(cls, text)
        token.kind, token.start, token.end = kind, start, end
        return token

    kind: str
    start: int
    end: int


class Several(list[Any]):
    """The values of a helper rule (`_names`), to be spliced into the rule that uses it."""


class StopError(Exception):
    """The text cannot go on at `offset`: the parser, in `state`, can take no word that begins there."""

    def __init__(self, run: _Run, offset: int, state: int) -> None:
        super().__init__(offset, state)
        self.offset = offset
        self.state = state
        self.last = run.last  # where the word before ends
        self.accepted = frozenset(terminal for terminal in run.automaton.accepts(state) if run.takes(terminal))
        # The places of the last parts and the states before them, the last part first.
        self.before = list(zip(run.starts[:-4:-1], run.states[-2:-5:-1], strict=True))
        self._run = run

    @property
    def whole(self) -> bool:
        """Whether what stands before is a complete statement."""
        return END in self.accepted

    @property
    def closable(self) -> bool:
        """Whether a `}` could stand here."""
        return "RBRACE" in self.accepted

    def finish(self) -> None:
        """Make the statement that is complete before the place."""
        if self.whole:
            self._run.feed(END, None, self.offset, self.offset)

    def step_back(self, offset: int, state: int) -> None:
        """Stop at an earlier part instead, which was taken for something that it is not."""
        self.accepted = self._run.automaton.accepts(state) - {END, "RBRACE"}
        self.offset, self.last, self.state = offset, offset, state


class TooLargeError(Exception):
    """A limit is exceeded at `offset`; reading ends."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


@dataclass(frozen=True, slots=True)
class _Lexer:
    """What one set of acceptable terminals looks like: words by look-up, the rest by one regular expression."""

    words: dict[str, str]
    match: Callable[[str, int], re.Match[str] | None]


@dataclass(eq=False)
class Automaton:
    """Runs the tables; `make(rule, values, start, end)` turns the parts of a rule into its value."""

    tables: Tables
    _lexers: dict[int, _Lexer] = field(default_factory=dict)
    _shared: dict[frozenset[str], _Lexer] = field(default_factory=dict)

    def run(self, text: str, start: int, make: Make, blank: Callable[[int, int], None]) -> None:
        """Read `text` from `start` to its end; `blank` is told where comments may stand.

        Raises:
            StopError: where the text leaves the language; what was complete before has been made.
            TooLargeError: where brackets nest too deeply or a word is too long.
        """
        run = _Run(self, make, start)
        position = start
        depth = 0
        while True:
            after = BLANKS.match(text, position).end()  # type: ignore[union-attr]
            if after > position + 1 or (after > position and text[position] == "#"):
                blank(position, after)
            position = after
            state = run.states[-1]
            token = self._next(text, position, state) if position < len(text) else None
            if token is None or not run.feed(token.kind, token, token.start, token.end):
                stop = StopError(run, position, state)
                if position == len(text) and stop.whole:
                    stop.finish()
                    return
                raise stop
            if token in ("(", "{"):
                depth += 1
                if depth > MAX_NESTING:
                    raise TooLargeError(position, f"brackets nest deeper than {MAX_NESTING}")
            elif token in (")", "}"):
                depth -= 1
            position = token.end

    def takes_keyword_at(self, text: str, offset: int, state: int) -> bool:
        """Whether the word at `offset` is a keyword in `state`."""
        word = _WORD.match(text, offset)
        return word is not None and self.tables.words.get(word.group()) in self.tables.actions[state]

    def accepts(self, state: int) -> frozenset[str]:
        """The terminals that the parser can take in `state`."""
        return frozenset(symbol for symbol in self.tables.actions[state] if symbol.isupper() or symbol == END)

    def _next(self, text: str, position: int, state: int) -> Token | None:
        lexer = self._lexers.get(state) or self._lexer(state)
        word = _WORD.match(text, position)
        if word is not None:
            terminal = lexer.words.get(word.group())
            if terminal is not None and _stands_alone(text, word.end(), terminal):
                return Token(word.group(), terminal, position, word.end())
        found = lexer.match(text, position)
        if found is None or found.end() == position:
            return None
        if found.end() - position > MAX_TOKEN_CHARACTERS:
            raise TooLargeError(position, f"a word is longer than {MAX_TOKEN_CHARACTERS} characters")
        return Token(found.group(), found.lastgroup or "", position, found.end())

    def _lexer(self, state: int) -> _Lexer:
        accepted = self.accepts(state)
        lexer = self._shared.get(accepted)
        if lexer is None:
            lexer = self._shared[accepted] = self._make_lexer(accepted)
        self._lexers[state] = lexer
        return lexer

    def _make_lexer(self, accepted: frozenset[str]) -> _Lexer:
        words = {word: terminal for word, terminal in self.tables.words.items() if terminal in accepted}
        patterns = sorted(
            (
                (-priority, fixed > 0, -fixed, name, text)
                for name, (priority, fixed, text) in self.tables.patterns.items()
                if name in accepted
            )
        )
        return _Lexer(words, _expression(tuple((name, text) for _, _, _, name, text in patterns)))


@functools.cache
def _expression(patterns: tuple[tuple[str, str], ...]) -> Callable[[str, int], re.Match[str] | None]:
    if not patterns:
        return lambda text, position: None
    return re.compile("|".join(f"(?P<{name}>{text})" for name, text in patterns)).match


def _stands_alone(text: str, end: int, terminal: str) -> bool:
    """Whether a keyword ends here: `arm.x` and `error*` are names that begin like one; `kernel.x` is meant."""
    following = text[end : end + 2]
    if following[:1] == "*":
        return False
    return terminal == "KERNEL" or not (
        following[:1] == "." and (following[1:].isalnum() or following[1:] in ("_", "*"))
    )


class _Run:
    """One pass over a text: the stack of states, the values on it, and their places."""

    def __init__(self, automaton: Automaton, make: Make, start: int) -> None:
        self.automaton = automaton
        self.actions = automaton.tables.actions
        self.productions = automaton.tables.productions
        self.end = automaton.tables.end
        self.make = make
        self.states: list[int] = [automaton.tables.start]
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.last = start

    def feed(self, terminal: str, value: Any, start: int, end: int) -> bool:
        """Take one terminal, after the reductions that it calls for; False where the language has no place for it."""
        states, actions = self.states, self.actions
        while True:
            target = actions[states[-1]].get(terminal)
            if target is None:
                return False
            if target >= 0:
                states.append(target)
                self.values.append(value)
                self.starts.append(start)
                self.ends.append(end)
                self.last = end
                return True
            self._reduce(self.productions[~target])
            if terminal == END and states[-1] == self.end:
                return True

    def takes(self, terminal: str) -> bool:
        """Whether `terminal` could come next; nothing is made."""
        states = list(self.states)
        while True:
            target = self.actions[states[-1]].get(terminal)
            if target is None:
                return False
            if target >= 0:
                return True
            production = self.productions[~target]
            if production.length:
                del states[-production.length :]
            states.append(self.actions[states[-1]][production.origin])
            if terminal == END and states[-1] == self.end:
                return True

    def _reduce(self, production: Any) -> None:
        length, origin = production.length, production.origin
        if length:
            values = self.values[-length:]
            start, end = self.starts[-length], self.ends[-1]
            del self.states[-length:], self.values[-length:], self.starts[-length:], self.ends[-length:]
        else:
            values, start, end = [], self.last, self.last
        self.values.append(self._value(origin, values, production.kept, start, end))
        self.starts.append(start)
        self.ends.append(end)
        self.states.append(self.actions[self.states[-1]][origin])

    def _value(self, origin: str, values: list[Any], kept: tuple[int, ...], start: int, end: int) -> Any:
        if origin[0] == "_" and origin != "_statement":
            if len(kept) == 1:
                return values[kept[0]]
            if origin[1] == "_" and kept and isinstance(values[kept[0]], Several):  # `__file_star_0`: grows in place
                grown: Several = values[kept[0]]
                for index in kept[1:]:
                    _add(grown, values[index])
                return grown
        parts = Several()
        for index in kept:
            _add(parts, values[index])
        return parts if origin[0] == "_" and origin != "_statement" else self.make(origin, parts, start, end)


def _add(parts: Several, value: Any) -> None:
    if isinstance(value, Several):
        parts.extend(value)
    else:
        parts.append(value)
