"""Hints of the operating system that something has happened in a folder. What has happened, the files themselves tell.

Hints may be lost, doubled, late, or be about other files; a watcher that only trusted them would miss edits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from layerzero.errors import MissingDependencyError
from layerzero.runtime.files import network_file_system

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver, ObservedWatch

log = logging.getLogger("layerzero")

MOST_FOLDERS = 24  # each costs an inotify instance, of which a user has 128
_CHANGES = frozenset({"created", "modified", "moved", "deleted", "closed"})  # not the reading that we do ourselves
_SUFFIXES = (".lzp", ".yaml", ".yml")

Identity = tuple[int, int]


def require_watchdog() -> None:
    """
    Raises:
        MissingDependencyError: There is no watchdog.
    """
    try:
        import watchdog.observers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "watching files wants the package watchdog: pip install 'layerzero[live]', or watch=\"poll\" to look at "
            "the files every second"
        ) from error


class Events:
    """Calls `wake` when something happens in the folders that it follows.

    Attributes:
        polled: Folders without hints, and why: a network file system, a limit of the system.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.polled: dict[str, str] = {}
        self._wake = wake
        self._names: frozenset[str] = frozenset()
        self._observer: BaseObserver | None = None
        self._followed: dict[tuple[str, bool], tuple[Any, Identity]] = {}

    def follow(self, folders: Iterable[str], trees: Iterable[str], names: Iterable[str]) -> None:
        """Follow these folders alone, and these with all that is in them, from now on.

        A folder that was removed and made again is another one, and is followed anew.

        Args:
            folders: Folders for their own entries.
            trees: Folders with all folders below.
            names: Names of files that matter whatever their suffix.
        """
        self._names = frozenset(names)
        whole = {os.path.realpath(tree) for tree in trees}
        within = {one for one in folders if not any(_lies_in(os.path.realpath(one), tree) for tree in whole)}
        wanted = [*((tree, True) for tree in sorted(whole)), *((one, False) for one in sorted(within))]
        self.polled = {}
        for key in [key for key in self._followed if key not in wanted]:
            self._leave(key)
        for path, recursive in wanted:
            self._follow(path, recursive)

    def close(self) -> None:
        """Follow nothing any more."""
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join(5.0)
            self._observer = None
        self._followed.clear()

    def happened(self, event: Any) -> None:
        """One event of watchdog's."""
        if event.event_type not in _CHANGES:
            return
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        names = [os.path.basename(path) for path in paths]
        if event.is_directory or any(
            name in self._names or name.endswith(_SUFFIXES) or name.startswith("..") for name in names
        ):
            self._wake()

    def _follow(self, path: str, recursive: bool) -> None:
        identity, key = _identity(path), (path, recursive)
        known = self._followed.get(key)
        if known is not None and known[1] == identity:
            return
        if known is not None:
            self._leave(key)
        if identity is None:
            return
        kind = network_file_system(path)
        if kind is not None:
            self.polled[path] = kind
        elif len(self._followed) >= MOST_FOLDERS:
            self.polled[path] = f"more than {MOST_FOLDERS} folders"
        else:
            try:
                self._followed[key] = (self._schedule(path, recursive), identity)
            except OSError as error:  # no inotify instance or watch is left
                self.polled[path] = str(error.strerror or error)

    def _schedule(self, path: str, recursive: bool) -> ObservedWatch:
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers import Observer

        if self._observer is None:
            observer = Observer()
            observer.daemon = True
            observer.start()
            self._observer = observer

        class Handler(FileSystemEventHandler):
            on_any_event = staticmethod(self.happened)

        return self._observer.schedule(Handler(), path, recursive=recursive)

    def _leave(self, key: tuple[str, bool]) -> None:
        watch, _ = self._followed.pop(key)
        if self._observer is not None:
            try:
                self._observer.unschedule(watch)
            except (KeyError, OSError) as error:  # its folder is gone, and its emitter with it
                log.debug("no longer following %s: %s", key[0], error)


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lies_in(path: str, tree: str) -> bool:
    return path == tree or path.startswith(tree.rstrip(os.sep) + os.sep)
