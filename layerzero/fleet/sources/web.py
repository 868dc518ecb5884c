"""`https://host/prod`: a release on a web server, asked with its ETag (RFC 9110) and `Prefer: wait` (RFC 7240).

    GET  URL                  the release; 304 where its ETag is still the one in If-None-Match, after the seconds of
                              `Prefer: wait=N` at most. A server that cannot wait answers at once; any web server serves
    PUT  URL                  a release, with If-Match, or If-None-Match: * where there is none yet
    GET  URL/holds/DIGEST     what holds a candidate up; PUT and DELETE
    PUT  URL/nodes/NODE       the report of a node
    GET  URL/nodes            those of all nodes, one JSON object a line

`lz fleet serve` is a server for all of it. The token in LAYERZERO_FLEET_TOKEN is sent over https, and to this machine.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.fleet.bundle import MAX_RELEASE_BYTES
from layerzero.fleet.source import (
    MAX_REPORT_BYTES,
    MAX_REPORTS,
    MOST_SECONDS,
    AbsentError,
    ChangedError,
    Fetched,
    Hold,
    SourceError,
    shown,
)

try:
    import httpx
except ImportError as error:
    raise MissingDependencyError("a source over HTTP wants httpx: pip install 'layerzero[fleet]'") from error

TOKEN = "LAYERZERO_FLEET_TOKEN"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MOST_SECONDS_IN_ALL = 60.0  # for an answer that comes in small pieces
_ABSENT = (404, 410)
_ETAG = re.compile(r"[!-~]{1,1024}")  # another one cannot be sent back, and counts as none


def open_url(url: str) -> WebSource:
    return WebSource(url)


def client(headers: Mapping[str, str]) -> httpx.Client:
    """Connections that never unpack what comes, so that little cannot become much.

    Raises:
        SourceError: The certificates in SSL_CERT_FILE or SSL_CERT_DIR cannot be read.
    """
    try:
        return httpx.Client(timeout=MOST_SECONDS, headers={"Accept-Encoding": "identity", **headers})
    except OSError as error:
        files = [f"{name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ]
        raise SourceError(f"certificates cannot be read ({', '.join(files)}): {error.strerror or error}") from error


@contextmanager
def failing(url: str) -> Iterator[None]:
    """What a connection may raise, as SourceError."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise SourceError(f"{shown(url)} did not answer in time ({type(error).__name__})") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise SourceError(f"{shown(url)} cannot be reached: {error}") from error


def read(answer: httpx.Response, limit: int) -> bytes:
    """The body of an answer as it was sent, nothing unpacked, within a limit of bytes and of seconds."""
    parts, size, until = [], 0, time.monotonic() + MOST_SECONDS_IN_ALL
    for part in answer.iter_raw():
        size += len(part)
        if size > limit:
            raise SourceError(f"{shown(str(answer.url))} sends more than {limit} bytes, the limit")
        if time.monotonic() > until:
            raise SourceError(f"{shown(str(answer.url))} sends too slowly: {size} bytes in {MOST_SECONDS_IN_ALL:g} s")
        parts.append(part)
    return b"".join(parts)


class WebSource:
    """Implements Source."""

    how = "long poll of HTTP"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.hostname or parts.query or parts.fragment or not parts.path.strip("/"):
            raise ArgumentError(
                f"`{shown(url)}` names no release: wanted an address with a path, as in https://host/prod"
            )
        if parts.username or parts.password:
            raise ArgumentError(f"`{shown(url)}`: a password in an address is seen by many; set {TOKEN} to a token")
        self.url = url.rstrip("/")
        headers = {}
        token = os.environ.get(TOKEN)
        if token and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ArgumentError(f"`{shown(url)}`: the token in {TOKEN} would be readable on its way; use https")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._client = client(headers)

    def fetch(self, mark: str | None, wait: float) -> Fetched:
        headers = {"Prefer": f"wait={wait:.0f}"} if wait >= 1 else {}
        if mark:
            headers["If-None-Match"] = mark
        timeout = httpx.Timeout(MOST_SECONDS, read=wait + MOST_SECONDS)
        with failing(self.url), self._client.stream("GET", self.url, headers=headers, timeout=timeout) as answer:
            if answer.status_code == 304 and mark:
                return Fetched(None, mark)
            if answer.status_code in _ABSENT:
                raise AbsentError(self._said(answer))
            if answer.status_code != 200:
                raise SourceError(self._said(answer))
            etag = answer.headers.get("ETag", "")
            return Fetched(read(answer, MAX_RELEASE_BYTES), etag if _ETAG.fullmatch(etag) else "")

    def push(self, data: bytes, mark: str | None) -> None:
        condition = {"If-None-Match": "*"} if mark is None else {"If-Match": mark} if mark else {}
        status = self._send("PUT", "", data, condition)
        if status == 412:
            raise ChangedError(shown(self.url))

    def held(self, digest: str) -> Hold | None:
        with failing(self.url), self._client.stream("GET", f"{self.url}/holds/{digest}") as answer:
            if answer.status_code in _ABSENT:
                return None
            if answer.status_code != 200:
                raise SourceError(self._said(answer))
            return Hold.from_bytes(read(answer, MAX_REPORT_BYTES))

    def hold(self, digest: str, hold: Hold) -> None:
        self._send("PUT", f"/holds/{digest}", hold.to_bytes())

    def resume(self, digest: str) -> None:
        self._send("DELETE", f"/holds/{digest}")

    def report(self, node: str, data: bytes) -> None:
        self._send("PUT", f"/nodes/{node}", data)

    def reports(self) -> Iterator[bytes]:
        with failing(self.url), self._client.stream("GET", f"{self.url}/nodes") as answer:
            if answer.status_code != 200:
                raise SourceError(self._said(answer))
            lines = read(answer, MAX_REPORTS * 4096).splitlines()
        yield from (line[:MAX_REPORT_BYTES] for line in lines[:MAX_REPORTS])

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None) -> int:
        asked = self._client.stream(method, f"{self.url}{path}", content=data, headers=dict(headers or {}))
        with failing(self.url), asked as answer:
            if not answer.is_success and answer.status_code != 412:
                raise SourceError(self._said(answer))
            return answer.status_code

    def _said(self, answer: httpx.Response) -> str:
        what = f"{answer.request.method} {shown(str(answer.url))}"
        return f"{what} was answered with {answer.status_code} {answer.reason_phrase}".rstrip()
