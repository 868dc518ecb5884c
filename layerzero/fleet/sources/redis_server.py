"""`redis://host:6379/0/prod`: a release under a key of database 0 of Redis; `rediss://` is the same over TLS.

prod               the release
prod:mark          another random text with each release, so that nobody loads what he has
prod:changed       a channel that is told of it
prod:hold:DIGEST   what holds a candidate up
prod:node:NODE     the report of a node, for a day
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from layerzero.errors import ArgumentError, MissingDependencyError
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

try:
    import redis
except ImportError as error:
    raise MissingDependencyError("a source in Redis wants redis: pip install 'layerzero[fleet]'") from error


def open_url(url: str) -> RedisSource:
    database, _, key = key_path(url).partition("/")
    if not database.isdigit() or not key:
        raise ArgumentError(f"`{shown(url)}` names no key: wanted a database and a key, as in redis://host:6379/0/prod")
    parts = urlsplit(url)
    server = urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))
    return RedisSource(server, key, shown(url))


class RedisSource:
    """Implements Source."""

    how = "messages of Redis"

    def __init__(self, server: str, key: str, name: str) -> None:
        self.key = key
        self.name = name
        self._redis: Any = redis.Redis.from_url(
            server, socket_timeout=MOST_SECONDS, socket_connect_timeout=MOST_SECONDS
        )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, ValueError) as error:
            raise SourceError(f"{self.name} cannot be reached: {error}") from error

    def fetch(self, mark: str | None, wait: float) -> Fetched:
        with self._failing():
            if mark is not None and self._mark() == mark:
                if wait:
                    self._wait(mark, wait)
                if self._mark() == mark:
                    return Fetched(None, mark)
            if self._redis.strlen(self.key) > MAX_RELEASE_BYTES:
                raise SourceError(f"{self.name} holds more than {MAX_RELEASE_BYTES} bytes, the limit of a release")
            found, data = self._redis.pipeline().get(f"{self.key}:mark").get(self.key).execute()
            if data is None:
                raise AbsentError(f"{self.name} holds no release")
            return Fetched(data, (found or b"").decode("ascii", "replace"))

    def _mark(self) -> str:
        return (self._redis.get(f"{self.key}:mark") or b"").decode("ascii", "replace")

    def _wait(self, mark: str, seconds: float) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(f"{self.key}:changed")
            channel.get_message(timeout=MOST_SECONDS)  # that it has subscribed
            if self._mark() == mark:  # no change slipped in before
                channel.get_message(timeout=seconds)

    def push(self, data: bytes, mark: str | None) -> None:
        with self._failing(), self._redis.pipeline() as change:
            try:
                change.watch(self.key, f"{self.key}:mark")
                there = change.exists(self.key)
                if (mark is None) == bool(there) or (mark is not None and self._mark() != mark):
                    raise redis.WatchError
                change.multi()
                change.set(self.key, data).set(f"{self.key}:mark", uuid.uuid4().hex)
                change.publish(f"{self.key}:changed", b"")
                change.execute()
            except redis.WatchError:
                raise ChangedError(self.name) from None

    def held(self, digest: str) -> Hold | None:
        with self._failing():
            data = self._redis.getrange(f"{self.key}:hold:{digest}", 0, MAX_REPORT_BYTES)
            return Hold.from_bytes(data) if data else None

    def hold(self, digest: str, hold: Hold) -> None:
        with self._failing():
            self._redis.set(f"{self.key}:hold:{digest}", hold.to_bytes(), nx=True)

    def resume(self, digest: str) -> None:
        with self._failing():
            self._redis.delete(f"{self.key}:hold:{digest}")

    def report(self, node: str, data: bytes) -> None:
        with self._failing():
            self._redis.set(f"{self.key}:node:{node}", data, ex=KEPT_SECONDS)

    def reports(self) -> Iterator[bytes]:
        with self._failing():
            for number, key in enumerate(self._redis.scan_iter(f"{self.key}:node:*", count=1000)):
                if number == MAX_REPORTS:
                    return
                yield self._redis.getrange(key, 0, MAX_REPORT_BYTES)

    def close(self) -> None:
        with self._failing():
            self._redis.close()
