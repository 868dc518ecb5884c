"""A folder of releases -> the web server that sources/web.py asks: for a fleet of some hundred nodes, and for tests.

    FOLDER/prod.lzb   is   http://HOST:PORT/prod

Reading is free; who writes shows the token, unless the server listens on this machine alone and has none. What a
release is worth its signature says, so the server does not look into it.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from layerzero.errors import ArgumentError
from layerzero.fleet.bundle import MAX_RELEASE_BYTES
from layerzero.fleet.source import MAX_REPORT_BYTES, ChangedError, Hold, SourceError
from layerzero.fleet.sources.files import FileSource
from layerzero.fleet.sources.web import LOOPBACK

log = logging.getLogger("layerzero")

LONGEST_WAIT = 60.0
_PATH = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._-]{0,127})(?:/(holds|nodes)(?:/([A-Za-z0-9][A-Za-z0-9._-]{0,127}))?)?")
_WAIT = re.compile(r"\bwait=(\d{1,4})\b")


class FleetServer(ThreadingHTTPServer):
    """Serves the releases of a folder, each connection in a thread of its own.

    Raises:
        ArgumentError: Others than this machine may connect, and there is no token.
    """

    daemon_threads = True

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`certificate` is a chain in PEM and its private key, for https."""
        if host not in LOOPBACK and not token:
            raise ArgumentError(f"a server that listens on `{host}` wants a token for those who write")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.token = token
        super().__init__((host, port), _Handler)
        self.scheme = "http"
        if certificate is not None:
            self.scheme = "https"
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
            # Hands are shaken in the thread of the connection: a client that is slow at it holds up itself alone.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks, or never was one of TLS, is its client's affair; all else is ours."""
        if not isinstance(sys.exception(), OSError):
            log.exception("serving a request")

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread; the address, until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"{self.scheme}://{self.server_address[0]!s}:{self.server_port}"
        finally:
            self.shutdown()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FleetServer
    protocol_version = "HTTP/1.1"
    timeout = LONGEST_WAIT + 15  # of a connection that says nothing

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_PUT(self) -> None:
        self._serve(self._put)

    def do_DELETE(self) -> None:
        self._serve(self._delete)

    def _serve(self, method: Callable[[FileSource, str | None, str | None], None]) -> None:
        found = _PATH.fullmatch(self.path)
        if found is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        name, kind, key = found.groups()
        store = FileSource(self.server.folder / f"{name}.lzb")
        try:
            method(store, kind, key)
        except SourceError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode())

    def _get(self, store: FileSource, kind: str | None, key: str | None) -> None:
        if kind == "nodes" and key is None:
            return self._answer(HTTPStatus.OK, b"".join(one + b"\n" for one in store.reports()))
        if kind == "holds" and key is not None:
            held = store.held(key)
            return self._answer(
                HTTPStatus.NOT_FOUND if held is None else HTTPStatus.OK, held.to_bytes() if held else b""
            )
        if kind is not None or not store.path.is_file():
            return self._answer(HTTPStatus.NOT_FOUND)
        asked = self.headers.get("If-None-Match", "").strip('"')
        wait = _WAIT.search(self.headers.get("Prefer", ""))
        fetched = store.fetch(asked or None, min(float(wait[1]), LONGEST_WAIT) if wait else 0.0)
        status = HTTPStatus.NOT_MODIFIED if fetched.data is None else HTTPStatus.OK
        self._answer(status, fetched.data or b"", fetched.mark)

    def _put(self, store: FileSource, kind: str | None, key: str | None) -> None:
        data = self._body(MAX_RELEASE_BYTES if kind is None else MAX_REPORT_BYTES) if self._may_write() else None
        if data is None:
            return
        if kind is None:
            mark = None if self.headers.get("If-None-Match") == "*" else self.headers.get("If-Match", "").strip('"')
            try:
                store.push(data, mark)
            except ChangedError:
                return self._answer(HTTPStatus.PRECONDITION_FAILED)
        elif key is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        elif kind == "holds":
            store.hold(key, Hold.from_bytes(data))
        else:
            line = _line(data)
            if line is None:
                return self._answer(HTTPStatus.BAD_REQUEST)
            store.report(key, line)
        self._answer(HTTPStatus.NO_CONTENT)

    def _delete(self, store: FileSource, kind: str | None, key: str | None) -> None:
        if not self._may_write():
            return
        if kind != "holds" or key is None:
            return self._answer(HTTPStatus.NOT_FOUND)
        store.resume(key)
        self._answer(HTTPStatus.NO_CONTENT)

    def _body(self, limit: int) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,12}", length) or int(length) > limit:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE if length else HTTPStatus.LENGTH_REQUIRED)
            return None
        data = self.rfile.read(int(length))
        if len(data) < int(length):  # who sent it has gone away: half a release must not replace a whole one
            self.close_connection = True
            return None
        return data

    def _may_write(self) -> bool:
        wanted = None if self.server.token is None else f"Bearer {self.server.token}".encode()
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        # A page in a browser on this machine could send requests to it; it cannot leave out `Origin`.
        if (wanted is None and "Origin" not in self.headers) or (wanted and hmac.compare_digest(wanted, given)):
            return True
        self.close_connection = True  # its body is not read
        self._answer(HTTPStatus.UNAUTHORIZED)
        return False

    def _answer(self, status: HTTPStatus, body: bytes = b"", mark: str = "") -> None:
        with suppress(ConnectionError, TimeoutError):  # who asked has gone away
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("X-Content-Type-Options", "nosniff")
            if mark:
                self.send_header("ETag", f'"{mark}"')
            if status not in (HTTPStatus.NOT_MODIFIED, HTTPStatus.NO_CONTENT):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what a request asks for is not worth a line, and could hold anything."""


def _line(data: bytes) -> bytes | None:
    """A report as one line; None for what is none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
        if isinstance(found, dict):
            return json.dumps(found).encode("ascii")
    return None
