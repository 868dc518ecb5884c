"""`lz COMMAND ...` -> exit code: finds the command's module, and says in one line what went wrong.

Exit codes: 0 fine, 1 findings, failed tests or decisions with an error, 2 usage, files or an internal error;
130 after Ctrl-C and 141 where the reader of the output went away, as shells have it.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from typing import NoReturn, Protocol, TextIO, cast

from layerzero import __version__
from layerzero.cli.output import report, style
from layerzero.cli.shown import Shown
from layerzero.errors import LayerZeroError, PolicyError

# Each is a module of this package with `add_arguments` and `run`; only the one that is asked for is imported.
COMMANDS: tuple[tuple[str, str], ...] = (
    ("check", "find what is wrong in policies"),
    ("lint", "advice about policies that are right: names, reasons, ends, facts"),
    ("fmt", "write policies in the one canonical form"),
    ("convert", "print a YAML policy as `.lzp`"),
    ("test", "run the `test` blocks of policies"),
    ("diff", "the contexts that two policies, or two machines, decide otherwise"),
    ("explain", "show why one call gets its kernel, and why no other"),
    ("decide", "decide many contexts, one JSON line each"),
    ("table", "show the decisions over a grid of contexts"),
    ("plan", "choose kernels for all layers of a model together, and what they share"),
    ("tree", "show what a policy is compiled to, stage by stage"),
    ("experiment", "how the arms of experiments do in running processes; resume a stopped one"),
    ("facts", "call kernels at the boundaries of their facts, and compare with the reference"),
    ("kernels", "list the kernels that are known, and whether they run here"),
    ("tune", "measure the kernels of this machine, and write rules that pick the fastest"),
    ("replay", "what a decision log would have been under another policy"),
    ("policy", "export a policy with all that it stands on"),
    ("bundle", "pack a policy into one signed file for many machines, and put it in front of them"),
    ("fleet", "what the nodes of a source run; let a held roll-out go on; serve releases"),
    ("lsp", "the language server, for editors"),
    ("watch", "follow the files of a policy: what each save changes, or what is wrong with it"),
    ("dashboard", "pages for somebody on call: what ran, by which rule, and why not the kernel that was expected"),
    ("doctor", "look at this machine: Python, torch, packages, devices, caches, policies"),
    ("demo", "the tour: a small transformer runs on the kernels that a policy chose"),
)

INTERRUPTED, CLOSED = 130, 141


class Command(Protocol):
    """What each module of this package offers; its docstring is the command's help."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises, unless `--debug` asks to see an internal error."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        gc.set_threshold(200_000, 20, 20)  # a short process that builds large trees gains a tenth
    _stand_in_for_closed_streams()
    _accept_any_text()
    with redirect_stdout(cast(TextIO, Shown(sys.stdout))), redirect_stderr(cast(TextIO, Shown(sys.stderr))):
        return _guarded(words)


def _guarded(words: list[str]) -> int:
    debug = "--debug" in words
    try:
        code = _run(words)
        _flush()
        return code
    except SystemExit as leaving:  # argparse: help, version, wrong usage
        return leaving.code if isinstance(leaving.code, int) else 2
    except KeyboardInterrupt:
        _detach_output()
        return INTERRUPTED
    except BrokenPipeError:
        _detach_output()
        return CLOSED
    except PolicyError as error:
        return report(error)
    except (LayerZeroError, OSError) as error:
        if debug:
            raise
        return _say(words, _described(error))
    except Exception as error:  # the last resort: no traceback for users, unless they ask for it
        if debug:
            raise
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        return _say(words, f"internal error: {text}; please report this (--debug shows where)")


def _run(words: list[str]) -> int:
    parser, own, module = _parsers(words)
    args, extra = parser.parse_known_args(words)
    if extra:
        (own or parser).error(f"unrecognized arguments: {' '.join(extra)}")
    if module is None:
        parser.print_help(sys.stderr)
        return 2
    return module.run(args)


def _parsers(words: list[str]) -> tuple[_Parser, _Parser | None, Command | None]:
    """The parser of all commands, the one of the command that is asked for, and its module."""
    parser = _Parser(prog="lz", description="LayerZero: rules decide which kernel runs each operation.")
    parser.add_argument("--version", action="version", version=f"layerzero {__version__}")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    chosen = next((word for word in words if not word.startswith("-")), None)
    found: Command | None = None
    own: _Parser | None = None
    for name, help in COMMANDS:
        module = cast(Command, import_module(f"layerzero.cli.{name}")) if name == chosen else None
        description = None if module is None else module.__doc__
        formatter = argparse.RawDescriptionHelpFormatter
        added = commands.add_parser(name, help=help, description=description, formatter_class=formatter)
        if module is not None:
            own, found = added, module
            module.add_arguments(own)
            own.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser, own, found


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object) -> None:
        # `--over` must not be taken for `--overwrite` by a later version.
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}{self._nearest(message)}\ntry `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)

    def _nearest(self, message: str) -> str:
        """A hint for a mistyped command or option."""
        from layerzero.syntax.suggest import did_you_mean

        if message.startswith("argument COMMAND: invalid choice"):
            hint = did_you_mean(message.split("'")[1], [name for name, _ in COMMANDS])
        elif message.startswith("unrecognized arguments: -"):
            options = [option for action in self._actions for option in action.option_strings]
            hint = did_you_mean(message.split()[2].partition("=")[0], options)
        else:
            hint = ""
        return f"; {hint}" if hint else ""


# ---------------------------------------------------------------- what can go wrong outside


def _described(error: LayerZeroError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror.lower()}"
    return str(error)


def _say(words: list[str], message: str) -> int:
    command = next((word for word in words if not word.startswith("-")), "")
    print(f"{f'lz {command}'.strip()}: {style(sys.stderr).bad('error')}: {message}", file=sys.stderr)
    return 2


def _stand_in_for_closed_streams() -> None:
    """A service manager may have started us without them: nothing comes in, and what is printed goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 as long as the process


def _accept_any_text() -> None:
    """A terminal in an old encoding shows escapes where it cannot show a character, and nothing fails."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        _detach_output()
        raise


def _detach_output() -> None:
    """Nobody reads any more: what is still buffered goes nowhere, so that leaving Python does not fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
