"""Show what the nodes of a source run, let a roll-out that was held go on, or serve releases over HTTP.

    lz fleet status URL       every node: what it runs, what is wrong; exit code 1 where something wants to be looked at
    lz fleet resume URL       let further nodes begin to run the candidate that was held
    lz fleet serve FOLDER     a web server: FOLDER/prod.lzb is http://127.0.0.1:8320/prod

Reports are what nodes say of themselves. The token in LAYERZERO_FLEET_TOKEN is shown to a web server, and wanted by
`serve` from everybody who writes."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from layerzero.cli.output import counted, print_json, style
from layerzero.cli.programs import add_json
from layerzero.errors import ArgumentError

if TYPE_CHECKING:
    from layerzero.fleet.source import Source
    from layerzero.fleet.status import NodeReport

SILENT = 180.0  # seconds; a node reports every thirty


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    status = actions.add_parser("status", help="what the nodes run, and what is wrong")
    status.add_argument("url", metavar="URL", help="the source that they follow")
    status.add_argument(
        "--trust", action="append", metavar="PATH", help="public keys: show the release as well, if one has signed it"
    )
    add_json(status)
    resume = actions.add_parser("resume", help="let a candidate that was held go on")
    resume.add_argument("url", metavar="URL", help="the source")
    add_json(resume)
    serve = actions.add_parser("serve", help="serve the releases in a folder, until Ctrl-C")
    serve.add_argument("folder", type=Path, metavar="FOLDER", help="where releases, holds and reports are")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, default=8320, help="(8320)")
    serve.add_argument("--certificate", type=Path, metavar="FILE", help="a certificate in PEM, for https")
    serve.add_argument("--certificate-key", type=Path, metavar="FILE", help="its private key")
    add_json(serve)


def run(args: argparse.Namespace) -> int:
    return {"status": _status, "resume": _resume, "serve": _serve}[args.action](args)


def _status(args: argparse.Namespace) -> int:
    from layerzero.fleet.source import open_source
    from layerzero.fleet.status import NodeReport

    with closing(open_source(args.url)) as source:
        release = _release(source, args.trust) if args.trust else []
        found = [NodeReport.from_bytes(one) for one in source.reports()]
    reports = sorted((one for one in found if one is not None), key=lambda one: one.node)
    now = datetime.now(UTC)
    if args.json:
        nodes = [{**one.data, "silent": one.silent(now, SILENT)} for one in reports]
        print_json({"release": release, "nodes": nodes, "unreadable": len(found) - len(reports)})
    else:
        print("".join(f"{line}\n" for line in release), end="")
        _show(reports, len(found) - len(reports), now)
    return 1 if any(one.held or one.diagnostics or one.silent(now, SILENT) for one in reports) else 0


def _release(source: Source, trust: list[str]) -> list[str]:
    from layerzero.fleet.bundle import open_sealed, split
    from layerzero.fleet.keys import Trust

    lines = []
    for sealed in split(source.fetch(None, 0.0).data or b""):
        bundle = open_sealed(sealed, Trust.load(trust))
        held = None if bundle.is_stable else source.held(bundle.digest)
        lines.append(f"{bundle}, for {bundle.whom}")
        if held is not None:
            lines.append(f"  held by {held.node}: {held.reason}")
    return lines


def _show(reports: list[NodeReport], unreadable: int, now: datetime) -> None:
    running = Counter(one.active for one in reports)
    what = ", ".join(f"{number} run {bundle}" for bundle, number in running.most_common())
    print(f"{counted(len(reports), 'node')}{': ' if what else ''}{what}")
    if unreadable:
        print(f"{counted(unreadable, 'report')} cannot be read")
    paint = style()
    width = max((len(one.node) for one in reports), default=0)
    for one in reports:
        state = paint.warn("silent since " + one.at) if one.silent(now, SILENT) else one.state
        candidate = "" if one.candidate == "-" else f", offered {one.candidate}"
        print(f"{one.node:<{width}}  {state}  {one.active}{candidate}")
        for label, texts in (
            ("held by", (one.held,) if one.held else ()),
            ("", one.diagnostics),
            ("breaker", one.open_breakers),
        ):
            for text in texts:
                print(paint.bad(f"{'':<{width}}  {label} {text}".rstrip()))


def _resume(args: argparse.Namespace) -> int:
    from layerzero.fleet.bundle import EVERYBODY, split
    from layerzero.fleet.source import open_source

    with closing(open_source(args.url)) as source:
        release = split(source.fetch(None, 0.0).data or b"")
        digest = next((one.digest for one in release if one.share < EVERYBODY), None)
        held = None if digest is None else source.held(digest)
        if digest is None or held is None:
            print(json.dumps({"resumed": None}) if args.json else "nothing is held")
            return 1
        source.resume(digest)
    if args.json:
        print(json.dumps({"resumed": digest, "held_by": held.node, "reason": held.reason}))
    else:
        print(f"{digest[:12]} goes on; it was held by {held.node}: {held.reason}")
    return 0


def _serve(args: argparse.Namespace) -> int:
    from layerzero.fleet.server import FleetServer
    from layerzero.fleet.sources.web import TOKEN

    if (args.certificate is None) != (args.certificate_key is None):
        raise ArgumentError("--certificate and --certificate-key go together")
    certificate = None if args.certificate is None else (args.certificate, args.certificate_key)
    with FleetServer(args.folder, args.host, args.port, os.environ.get(TOKEN), certificate) as server:
        url = f"{server.scheme}://{args.host}:{server.server_port}/NAME"
        said = f"serving {args.folder} at {url}; Ctrl-C ends it"
        print(json.dumps({"folder": str(args.folder), "url": url}) if args.json else said, flush=True)
        server.serve_forever()
    return 0
