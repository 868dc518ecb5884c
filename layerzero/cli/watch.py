"""Follow the files of a policy and show what each save does: what is in force, what changed, what is wrong with it.

A process that watches the same files (`lz.configure(PATH, watch=True)`) puts the same versions in force and refuses the
same ones; this command looks at the files alone, and at no machine: every package counts as present. It ends with
Ctrl-C, or after --for SECONDS: exit code 1 where the files are bad by then. Of a source it follows the signed bundles,
as the node that --node names would, and reports nothing.

  lz watch prod.lzp
  lz watch https://policies.example/prod --trust ops.pub"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.check.program import Layer, Text
from layerzero.cli.output import counted, print_findings, style
from layerzero.cli.programs import add_program_options, catalogs
from layerzero.errors import ArgumentError, PolicyError
from layerzero.runtime.building import Material
from layerzero.runtime.edits import Edit, edits
from layerzero.runtime.engine import Engine
from layerzero.runtime.events import require_watchdog
from layerzero.runtime.failures import Failure, WatchStatus
from layerzero.runtime.snapshot import Snapshot
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.runtime.watcher import Watcher
from layerzero.runtime.worker import Worker
from layerzero.semantics.environment import Environment

if TYPE_CHECKING:
    from layerzero.fleet.follower import Follower

MOST_EDITS = 20  # that are shown of one save
WIDEST = 160

Event = Snapshot | Failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a policy: a `.lzp` or YAML file, a folder, a glob in quotes, or a source's address",
    )
    parser.add_argument(
        "--poll", action="store_true", help="look at the files by the clock, without the system's hints"
    )
    parser.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two looks (1)")
    parser.add_argument("--for", dest="limit", type=_seconds, metavar="SECONDS", help="end by itself after this time")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line for each event")
    parser.add_argument(
        "--trust", action="append", metavar="PATH", help="of a source: public keys, or a folder of *.pub"
    )
    parser.add_argument("--node", metavar="NAME", help="of a source: see what this node runs (default: this host)")
    add_program_options(parser)


def run(args: argparse.Namespace) -> int:
    logging.getLogger("layerzero").addHandler(logging.NullHandler())  # what it says is shown here in full
    logging.getLogger("layerzero").propagate = False
    told: SimpleQueue[Event] = SimpleQueue()
    worker = Worker()
    engine = Engine(_NoMachine(), builder=worker)
    watcher = _follower(args, engine, told.put) if "://" in args.path else _watcher(args, engine, told.put)
    view: _View = _JsonLines() if args.json else _Lines()
    try:
        first = _first(watcher)
        watcher.start()
        status = watcher.status()
        view.watching(status.path if "://" in args.path else args.path, status)
        if first:
            told.put(engine.current())
        engine.listeners.append(told.put)
        _show(view, told, args.limit)
        return 0 if watcher.status().state == "current" else 1
    finally:
        watcher.stop()
        engine.close()
        worker.close()


def _watcher(args: argparse.Namespace, engine: Engine, tell: Callable[[Failure], None]) -> Watcher:
    if not args.poll:
        require_watchdog()
    if args.trust or args.node:
        raise ArgumentError("--trust and --node want the address of a source, as in https://policies.example/prod")
    path = Path(os.path.abspath(args.path))
    material = Material(path=path, prelude=not args.no_prelude, with_catalogs=tuple(catalogs(args)))
    return Watcher(engine, material, interval=args.interval, hints=not args.poll, on_failure=tell)


def _follower(args: argparse.Namespace, engine: Engine, tell: Callable[[Failure], None]) -> Follower:
    from layerzero.fleet.joining import join

    return join(engine, args.path, args.trust, args.node, False, tell, args.interval, reports=False)


def _first(watcher: Watcher | Follower) -> bool:
    """Whether what is there is good to begin with; where it is absent it is wrong usage."""
    try:
        watcher.first()
    except PolicyError as error:
        watcher.failed_at_start(error)
        return False
    return True


def _show(view: _View, told: SimpleQueue[Event], limit: float | None) -> None:
    until = None if limit is None else time.monotonic() + limit
    texts: Sequence[Text] | None = None
    while True:
        left = None if until is None else until - time.monotonic()
        try:
            if left is not None and left <= 0:
                return
            event = told.get(timeout=left)
        except Empty:
            return
        if isinstance(event, Failure):
            view.refused(event)
        else:
            view.in_force(event, None if texts is None else edits(texts, event.texts))
            texts = event.texts


class _NoMachine:
    """No devices, every package: what is asked is whether the files are a policy."""

    def environment(self, vocabulary: Vocabulary, today: date) -> Environment:
        return Environment(assume_packages=True, today=today)

    def devices(self) -> Sequence[Mapping[str, Value]]:
        return ()


# ---------------------------------------------------------------- the two ways to show an event


class _View:
    """Shows events, each at once, also into a pipe."""

    def watching(self, path: str, status: WatchStatus) -> None:
        raise NotImplementedError

    def in_force(self, snapshot: Snapshot, changes: Sequence[Edit] | None) -> None:
        """`changes` is None for the first version."""
        raise NotImplementedError

    def refused(self, failure: Failure) -> None:
        raise NotImplementedError


class _Lines(_View):
    def watching(self, path: str, status: WatchStatus) -> None:
        self._say(f"watching {path} ({status.how}); Ctrl-C ends it")

    def in_force(self, snapshot: Snapshot, changes: Sequence[Edit] | None) -> None:
        identity, paint = snapshot.identity, style()
        version = "" if identity.version is None else f" version {identity.version}"
        what = f"`{identity.name}`{version} ({identity.digest[:12]})"
        own = sum(rule.layer is Layer.POLICY for rule in snapshot.program.rules)
        self._say(f"{paint.good(f'epoch {snapshot.epoch}')}: {what}, {counted(own, 'rule')}")
        if changes is None:
            return
        if not changes:
            print("          no statement has changed", flush=True)
        for edit in changes[:MOST_EDITS]:
            text = str(edit) if len(str(edit)) <= WIDEST else f"{str(edit)[: WIDEST - 3]}..."
            print(f"          {(paint.bad if edit.kind == 'removed' else paint.good)(text)}", flush=True)
        if len(changes) > MOST_EDITS:
            print(f"          ... and {len(changes) - MOST_EDITS} more", flush=True)

    def refused(self, failure: Failure) -> None:
        self._say(f"{style().bad('not in force')}, what was stays:")
        if failure.diagnostics:
            print_findings(failure.diagnostics, sys.stdout)
        else:
            print(failure.message)
        sys.stdout.flush()

    def _say(self, text: str) -> None:
        print(f"{style().quiet(time.strftime('%H:%M:%S'))}  {text}", flush=True)


class _JsonLines(_View):
    def watching(self, path: str, status: WatchStatus) -> None:
        self._put("watching", path=path, how=status.how)

    def in_force(self, snapshot: Snapshot, changes: Sequence[Edit] | None) -> None:
        identity = snapshot.identity
        self._put(
            "in_force",
            epoch=snapshot.epoch,
            policy={"name": identity.name, "version": identity.version, "digest": identity.digest},
            changes=None if changes is None else [{"kind": c.kind, "text": c.text, "at": c.at} for c in changes],
        )

    def refused(self, failure: Failure) -> None:
        from layerzero.syntax.report_formats import to_json

        findings = [to_json(one) for one in failure.diagnostics]
        self._put("refused", message=failure.message, findings=findings, in_force=failure.in_force)

    def _put(self, event: str, **data: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(json.dumps({"event": event, "time": now, **data}, ensure_ascii=False), flush=True)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 86_400:
        raise argparse.ArgumentTypeError(f"wanted seconds above 0, at most a day, got `{text}`")
    return number
