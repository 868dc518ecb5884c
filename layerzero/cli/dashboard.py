"""Serve pages about running processes: what they decided, by which rule, and why not otherwise. Ends with Ctrl-C.

LOG is what `lz.log_decisions` was given, or a folder of such files; --metrics is where a process answers scrapes.
Processes of yours that share their experiments are found by themselves. Nothing is changed by a page, and nobody else
can reach it: another --host than this machine wants a token, which is printed, or read from --token-file.

  lz dashboard decisions.jsonl --metrics http://127.0.0.1:9464/metrics --policy prod.lzp"""

from __future__ import annotations

import argparse
import ipaddress
import secrets
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from layerzero.cli.budget import budget
from layerzero.cli.output import print_json
from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.resources import measurements

if TYPE_CHECKING:
    from layerzero.dashboard.board import Board

SCHEMA = "lz.dashboard/1"
PORT = 8600
_SHORTEST_TOKEN = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("logs", nargs="*", type=Path, metavar="LOG", help="a decision log, or a folder of them")
    parser.add_argument("--metrics", action="append", default=[], metavar="URL", help="a process's metrics endpoint")
    parser.add_argument(
        "--experiments", action="append", default=[], type=Path, metavar="FILE", help="of `lz.share_experiments(FILE)`"
    )
    parser.add_argument(
        "--measurements", action="append", default=[], type=Path, metavar="FILE", help="a database of `lz tune`"
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", help="what the playground begins with, and may import")
    parser.add_argument("--catalog", action="append", default=[], metavar="PATH", help="a catalog for the playground")
    group = parser.add_argument_group("where it listens")
    group.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: this machine alone)")
    group.add_argument("--port", type=_port, default=PORT, help=f"0 takes a free one (default: {PORT})")
    group.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a name it is reached by")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="a token that every request has to bring")
    parser.add_argument("--for", dest="limit", type=budget, metavar="TIME", help="end by itself after this time")
    parser.add_argument("--json", action="store_true", help="print what the first page would show, and end")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"wanted a port, 0 to 65535, got `{text}`")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from layerzero.dashboard.board import Board
    from layerzero.dashboard.metrics import check_address

    board = Board(args.logs, [check_address(one) for one in args.metrics], args.experiments)
    if args.json:
        return _once(board)
    try:
        import uvicorn

        from layerzero.dashboard.web import Dashboard, application
    except ImportError as error:
        raise MissingDependencyError("the dashboard needs starlette: pip install 'layerzero[dashboard]'") from error
    from layerzero.cli.programs import catalogs

    if args.policy is not None and not args.policy.is_file():
        raise FileNotFoundError(f"no such file: {args.policy}")
    token = _token(args)
    listening = _listen(args.host, args.port)
    dashboard = Dashboard(board, _measurements(args), args.policy, catalogs(args))
    app = application(dashboard, [args.host, socket.gethostname(), *args.allow_host], token)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2))
    dashboard.ending = lambda: server.should_exit
    if args.limit is not None:
        timer = threading.Timer(args.limit, lambda: setattr(server, "should_exit", True))
        timer.daemon = True
        timer.start()
    print(f"dashboard at {_address(args.host, listening, token)}; Ctrl-C ends it", flush=True)
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        dashboard.close()
    return 0


def _once(board: Board) -> int:
    from layerzero.dashboard.shown import shown

    while board.look():
        pass
    board.ask()
    found = board.now()
    board.close()
    print_json(shown({"schema": SCHEMA, **found}))
    return int(bool(found["attention"]))


def _token(args: argparse.Namespace) -> str | None:
    """None on a loopback address without `--token-file`."""
    if args.token_file is not None:
        token = str(args.token_file.read_text(encoding="utf-8").strip())
        if len(token) < _SHORTEST_TOKEN:
            raise ArgumentError(f"{args.token_file}: a token has at least {_SHORTEST_TOKEN} characters")
        return token
    return None if _is_loopback(args.host) else secrets.token_urlsafe(32)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ArgumentError(f"--host {host}: {error.strerror}") from error
    listening = socket.socket(family, kind)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(128)  # before the address is printed: who opens it at once waits, and is not refused
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen at {host}, port {port}: {error.strerror}") from error
    return listening


def _address(host: str, listening: socket.socket, token: str | None) -> str:
    """`http://127.0.0.1:8600/`; for every interface, by this machine's name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    where = f"http://{name}:{listening.getsockname()[1]}/"
    return where if token is None else f"{where}login?token={token}"


def _measurements(args: argparse.Namespace) -> list[Path]:
    """What was named, and what `lz tune` keeps in the cache folder where it is there."""
    missing = [path for path in args.measurements if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"no such database: {missing[0]}")
    kept = measurements()
    return [*args.measurements, *([kept] if kept is not None and kept.is_file() else [])]
