"""Show what a policy is compiled to: the decision tree of each operation, or the bitset in place of a large one.

--stage shows an earlier or later form: source (the files), nodes (what the parser made), program (what the checker
made, canonical), form (the compiled form, the default), code (the generated Python). With --device the form is the one
that a process on that device uses; without, it serves every device."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from layerzero.check import Checked, require
from layerzero.check.loader import shipped_files
from layerzero.check.program import Program
from layerzero.cli.output import print_json
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_program_options,
    checked,
    environment,
    split_paths,
)
from layerzero.errors import PolicyError
from layerzero.semantics.context import read_device, read_scope
from layerzero.syntax.nodes import File, Node
from layerzero.syntax.reading import read_source
from layerzero.syntax.source import Source

if TYPE_CHECKING:
    from layerzero.compiler.form import Form

Made = tuple[str, Any]  # what is printed as text, and with --json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="PATH|OPERATION",
        help="the policy (default: the shipped one); which operation (all)",
    )
    parser.add_argument("--stage", choices=tuple(STAGES), default="form", help="which form to show (default: form)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--dot", action="store_true", help="the tree for Graphviz")
    kind.add_argument("--stats", action="store_true", help="sizes alone")
    add_json(parser)
    add_program_options(parser)
    add_environment_options(parser)


def run(args: argparse.Namespace) -> int:
    paths, operation = split_paths(args.words, "OPERATION")
    found = checked(args, paths)
    if args.stats or args.dot:
        text, data = (_stats if args.stats else _dot)(args, found, operation)
    else:
        text, data = STAGES[args.stage](args, found, operation)
    if args.json:
        print_json(data)
    else:
        print(text.rstrip("\n"))
    return 0


# ---------------------------------------------------------------- before the checker


def _source(args: argparse.Namespace, found: Checked, operation: str | None) -> Made:
    sources = list(_own_sources(found))
    text = "\n".join(f"# ==== {source.name}\n{source.text}" for source in sources)
    return text, {"stage": "source", "files": [{"file": source.name, "text": source.text} for source in sources]}


def _nodes(args: argparse.Namespace, found: Checked, operation: str | None) -> Made:
    from layerzero.syntax.parser import parse

    files: dict[str, File] = {}
    for source in _own_sources(found):
        file, diagnostics = parse(source)
        if file is None:
            raise PolicyError("the text could not be read", tuple(diagnostics))
        files[source.name] = file
    text = "\n".join(f"{name}\n{chr(10).join(_outline(file, 1))}" for name, file in files.items())
    return text, {"stage": "nodes", "files": {name: _plain(file) for name, file in files.items()}}


def _own_sources(found: Checked) -> Iterator[Source]:
    """The policy's own files; the shipped ones where there are no others."""
    shipped = {str(path) for path in shipped_files()}
    own = [name for name in found.files if name not in shipped] or list(found.files)
    for name in own:
        source = read_source(name)
        if not isinstance(source, Source):
            raise PolicyError("a file could not be read", (source,))
        yield source


def _outline(value: Any, depth: int, name: str = "") -> Iterator[str]:
    """`Deny 12:1` and, indented under it, its parts; constants on one line."""
    lead = "  " * depth + (f"{name}: " if name else "")
    if isinstance(value, Node):
        yield f"{lead}{type(value).__name__} {value.span.line}:{value.span.column}"
        for part in fields(value):
            if part.name != "span":
                yield from _outline(getattr(value, part.name), depth + 1, part.name)
    elif isinstance(value, tuple):
        if value:
            yield f"{lead.removesuffix(': ')}"
            for item in value:
                yield from _outline(item, depth + 1)
    elif value is not None and value is not False:
        yield f"{lead}{value!r}" if isinstance(value, str) else f"{lead}{value}"


def _plain(value: Any) -> Any:
    if isinstance(value, Node):
        data = {"node": type(value).__name__, "at": f"{value.span.line}:{value.span.column}"}
        return data | {part.name: _plain(getattr(value, part.name)) for part in fields(value) if part.name != "span"}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


# ---------------------------------------------------------------- program and form


def _program(args: argparse.Namespace, found: Checked, operation: str | None) -> Made:
    from layerzero.check.digest import canonical_json

    data = json.loads(canonical_json(require(found)))
    return json.dumps(data, ensure_ascii=False, indent=1), data


def _form(args: argparse.Namespace, found: Checked, operation: str | None) -> Made:
    from layerzero.compiler.dump import text

    form = _compiled(args, require(found), operation)
    fixed = ", ".join(f"{name} = {'absent' if value is None else value}" for name, value in form.fixed.items())
    heading = f"form {form.digest[:12]} of policy {form.program[:12]}{f', for {fixed}' if fixed else ''}"
    return f"{heading}\n\n{text(form)}", {**form.to_data(), "digest": form.digest}


def _code(args: argparse.Namespace, found: Checked, operation: str | None) -> Made:
    from layerzero.compiler.codegen import source_of

    form = _compiled(args, require(found), operation)
    codes = {name: source_of(one) for name, one in form.operations.items()}
    text = "\n\n".join(f"# {name}\n{code}" for name, code in codes.items())
    return text, {"stage": "code", "operations": codes}


def _stats(args: argparse.Namespace, found: Checked, operation: str | None) -> Made:
    from layerzero.compiler.dump import stats

    lines = stats(_compiled(args, require(found), operation))
    return "\n".join(map(str, lines)), {"operations": [asdict(line) for line in lines]}


def _dot(args: argparse.Namespace, found: Checked, operation: str | None) -> Made:
    from layerzero.compiler.dump import dot

    text = dot(_compiled(args, require(found), operation))
    return text, {"dot": text}


def _compiled(args: argparse.Namespace, program: Program, operation: str | None) -> Form:
    """The form of one operation, or of all."""
    from layerzero.compiler.compile import compile_operation
    from layerzero.compiler.form import Form
    from layerzero.runtime.snapshot import DEVICE_FIELDS

    there = environment(args, program)
    names = sorted(program.operations) if operation is None else [read_scope(program, operation).operation]
    fixed = {}
    if args.device is not None:
        device = read_device(program, args.device)
        fixed = {name: device.get(name) for name in DEVICE_FIELDS if name in program.fields}
    forms = {name: compile_operation(program, there, fixed, program.operations[name]) for name in names}
    return Form(program.digest, there.digest, fixed, forms)


STAGES: dict[str, Callable[[argparse.Namespace, Checked, str | None], Made]] = {
    "source": _source,
    "nodes": _nodes,
    "program": _program,
    "form": _form,
    "code": _code,
}
