"""`etcd://host:2379/fleet/prod`: a release under a key of etcd, by its v3 JSON gateway; `etcds://` for TLS, and
`etcds://user:password@host:2379/fleet/prod` where etcd has authentication enabled.

    fleet/prod               the release
    fleet/prod/hold/DIGEST   what holds a candidate up
    fleet/prod/node/NODE     the report of a node, under a lease of a day

etcd takes 1.5 MiB in one request unless it is told otherwise (`--max-request-bytes`).
"""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx  # web.py says which package is wanted where it is missing

from layerzero.errors import ArgumentError
from layerzero.fleet.bundle import MAX_RELEASE_BYTES
from layerzero.fleet.source import (
    KEPT_SECONDS,
    MAX_REPORT_BYTES,
    MAX_REPORTS,
    MOST_SECONDS,
    AbsentError,
    ChangedError,
    Fetched,
    Hold,
    SourceError,
    key_path,
    shown,
)
from layerzero.fleet.sources.web import client, failing, read
from layerzero.syntax.visible import visible

_MAX_ANSWER = 2 * MAX_RELEASE_BYTES


def open_url(url: str) -> EtcdSource:
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    if not parts.hostname or parts.query or (login and not (parts.username and parts.password)):
        wanted = "etcd://host:2379/fleet/prod or etcds://user:password@host:2379/fleet/prod"
        raise ArgumentError(f"`{shown(url)}` is no address of etcd: wanted {wanted}")
    user = (unquote(parts.username or ""), unquote(parts.password or "")) if login else None
    scheme = "https" if parts.scheme == "etcds" else "http"
    return EtcdSource(f"{scheme}://{host}", key_path(url), shown(url), user)


class EtcdSource:
    """Implements Source."""

    how = "watch of etcd"

    def __init__(self, server: str, key: str, name: str, user: tuple[str, str] | None = None) -> None:
        self.key = key
        self.name = name
        self._server = server
        self._lease: tuple[str, float] | None = None  # and until when it is used
        self._user = user  # and password
        self._client = client({})

    def fetch(self, mark: str | None, wait: float) -> Fetched:
        found, value = self._get(self.key, count=mark is not None)
        if mark is not None and found == mark:
            if wait:
                self._wait(mark, wait)
            found, value = self._get(self.key, count=True)
            if found == mark:
                return Fetched(None, mark)
        if value is None:
            found, value = self._get(self.key)
        if value is None:
            raise AbsentError(f"{self.name} holds no release")
        return Fetched(value, found)

    def _get(self, key: str, count: bool = False) -> tuple[str, bytes | None]:
        """The version of a key, and what stands there unless only the version is asked for."""
        answer = self._ask("kv/range", {"key": _text(key), "keys_only": count})
        with self._reading():
            found = answer.get("kvs", [])
            if not found:
                return "", None
            cluster, created = answer["header"]["cluster_id"], found[0]["create_revision"]
            revision = f"{cluster}/{created}/{int(found[0]['mod_revision'])}"
            return revision, None if count else b64decode(found[0].get("value", ""))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise SourceError(f"the answer of {self.name} is not that of etcd: {error!r}") from error

    def _wait(self, mark: str, seconds: float) -> None:
        """Until the key changes; what has changed since `mark` comes at once."""
        start = int(mark.rpartition("/")[2]) + 1
        asked = {"create_request": {"key": _text(self.key), "start_revision": str(start)}}
        timeout = httpx.Timeout(MOST_SECONDS, read=seconds)
        seen, until = b"", time.monotonic() + seconds
        watch = self._client.stream("POST", f"{self._server}/v3/watch", json=asked, timeout=timeout)
        with failing(self.name), suppress(httpx.ReadTimeout), watch as answer:
            for part in answer.iter_raw():
                seen += part  # what has happened is asked for afterwards; here it matters that something has
                done = b'"events"' in seen or b'"canceled"' in seen or b'"error"' in seen
                if done or len(seen) > MAX_REPORT_BYTES or time.monotonic() > until:
                    return

    def push(self, data: bytes, mark: str | None) -> None:
        revision = "0" if mark is None else mark.rpartition("/")[2]
        put = {"requestPut": {"key": _text(self.key), "value": _encoded(data)}}
        compare = {"key": _text(self.key), "target": "MOD", "result": "EQUAL", "modRevision": revision}
        if not self._ask("kv/txn", {"compare": [compare], "success": [put]}).get("succeeded"):
            raise ChangedError(self.name)

    def held(self, digest: str) -> Hold | None:
        _, data = self._get(f"{self.key}/hold/{digest}")
        return None if data is None else Hold.from_bytes(data)

    def hold(self, digest: str, hold: Hold) -> None:
        key = _text(f"{self.key}/hold/{digest}")
        compare = {"key": key, "target": "CREATE", "result": "EQUAL", "createRevision": "0"}
        put = {"requestPut": {"key": key, "value": _encoded(hold.to_bytes())}}
        self._ask("kv/txn", {"compare": [compare], "success": [put]})

    def resume(self, digest: str) -> None:
        self._ask("kv/deleterange", {"key": _text(f"{self.key}/hold/{digest}")})

    def report(self, node: str, data: bytes) -> None:
        lease = self._lease_in_use()
        self._lease = None  # where etcd does not know it any more, the next report asks for another
        self._ask("kv/put", {"key": _text(f"{self.key}/node/{node}"), "value": _encoded(data), "lease": lease[0]})
        self._lease = lease

    def _lease_in_use(self) -> tuple[str, float]:
        """One lease serves for half its time, so that a report outlives the node by the other half at least."""
        if self._lease is None or time.monotonic() > self._lease[1]:
            with self._reading():
                granted = str(self._ask("lease/grant", {"TTL": KEPT_SECONDS})["ID"])
            self._lease = granted, time.monotonic() + KEPT_SECONDS / 2
        return self._lease

    def reports(self) -> Iterator[bytes]:
        start = f"{self.key}/node/"
        end = start[:-1] + chr(ord("/") + 1)
        found = self._ask("kv/range", {"key": _text(start), "range_end": _text(end), "limit": MAX_REPORTS})
        with self._reading():
            yield from [b64decode(one.get("value", "")) for one in found.get("kvs", [])]

    def close(self) -> None:
        self._client.close()

    def _ask(self, what: str, data: dict[str, Any]) -> dict[str, Any]:
        """What etcd answers; where it wants to know who asks, by a token, which it forgets when it is not used."""
        if self._user is not None and "Authorization" not in self._client.headers:
            self._log_in(*self._user)
        status, found = self._post(what, data)
        if status == 401 and self._user is not None:
            self._log_in(*self._user)
            status, found = self._post(what, data)
        return self._accepted(status, found)

    def _log_in(self, user: str, password: str) -> None:
        self._client.headers.pop("Authorization", None)
        found = self._accepted(*self._post("auth/authenticate", {"name": user, "password": password}))
        with self._reading():
            self._client.headers["Authorization"] = found["token"]

    def _accepted(self, status: int, found: object) -> dict[str, Any]:
        if not isinstance(found, dict):
            said = "its answer is no JSON object"
        elif status == 200:
            return found
        else:
            said = visible(str(found.get("message") or found.get("error")))
        raise SourceError(f"{self.name} refuses: {said[:300]} ({status})")

    def _post(self, what: str, data: dict[str, Any]) -> tuple[int, object]:
        with failing(self.name), self._client.stream("POST", f"{self._server}/v3/{what}", json=data) as answer:
            body = read(answer, _MAX_ANSWER)
        with suppress(ValueError, RecursionError):
            return answer.status_code, json.loads(body)
        return answer.status_code, None


def _text(key: str) -> str:
    return _encoded(key.encode("ascii"))


def _encoded(data: bytes) -> str:
    return b64encode(data).decode("ascii")
