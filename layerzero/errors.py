"""The exceptions of LayerZero. Each says what was wanted, what was given, where, and what to do."""

from __future__ import annotations


class LayerZeroError(Exception):
    """The root of every exception that this package raises on purpose."""


class ArgumentError(LayerZeroError, ValueError):
    """A call's argument is wrong: it names the argument, what was wanted and what was given."""


class PolicyError(LayerZeroError):
    """A policy cannot be loaded. `diagnostics` holds every finding, in the order of the text."""

    def __init__(self, message: str, diagnostics: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics


class ContextError(ArgumentError):
    """A context does not fit the operation: unknown or missing field, wrong type, outside its range."""


class UnknownNameError(ArgumentError):
    """An operation, kernel, device or policy that is declared nowhere; the message lists the nearest names."""


class NoKernelError(LayerZeroError):
    """No kernel may serve the call. `decision` carries the whole trace."""

    def __init__(self, message: str, decision: object = None) -> None:
        super().__init__(message)
        self.decision = decision

    def __reduce__(self) -> tuple[type[NoKernelError], tuple[str]]:
        """To another process goes the message, which holds the trace; a decision stays with its snapshot."""
        return type(self), (str(self),)


class MissingDependencyError(LayerZeroError, ImportError):
    """An optional package is needed for this call; the message names the extra that brings it."""


class KernelCallError(LayerZeroError):
    """A kernel could not be loaded or failed; the message names kernel, operation and cause."""


class RanksError(LayerZeroError):
    """The ranks of a process group do not agree, or one of them does not answer; the message names what and which."""
