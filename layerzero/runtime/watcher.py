"""Follows the files of a policy: another version of them is put in force as one step, a bad one changes nothing.

Hints of the system wake it at once, and it looks by itself every second, so that a lost hint costs a second and not an
edit. What counts is the bytes of the files. They are read as one consistent set: nothing changed from the last hint
until everything was read and compiled, or it is read again. Only files that were replaced as a whole meanwhile do not
matter: what was read of them was complete, and the newer ones are looked at next.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from layerzero.check.program import Layer
from layerzero.errors import LayerZeroError, PolicyError
from layerzero.resources import shipped
from layerzero.runtime import files
from layerzero.runtime.building import Loaded, Material
from layerzero.runtime.engine import Engine
from layerzero.runtime.events import Events
from layerzero.runtime.failures import Failure, State, WatchStatus
from layerzero.runtime.last_good import LastGood
from layerzero.runtime.policy import Policy
from layerzero.runtime.refusals import Refusals
from layerzero.runtime.worker import RefusedError

log = logging.getLogger("layerzero")

QUIET = 0.05  # seconds without a change after which files count as written
RESPITE = 0.005  # seconds between two looks, however many hints there are
LONGEST_WAIT = 2.0  # seconds; files that never rest are tried all the same
ATTEMPTS = 5  # at a set of files that changes while it is read; then it is left to the next look

_WATCHERS: weakref.WeakSet[Watcher] = weakref.WeakSet()


class UnsettledError(LayerZeroError):
    """The files kept changing while they were read."""


class Watcher:
    """Keeps an engine at the newest good version of its policy's files, in a thread of its own.

    Attributes:
        interval: Seconds between two looks at the files without a hint.
    """

    def __init__(
        self,
        engine: Engine,
        material: Material,
        *,
        interval: float = 1.0,
        hints: bool = True,
        on_failure: Callable[[Failure], None] | None = None,
        keep: LastGood | None = None,
        replace_policy: Callable[[Material, Callable[[Loaded], bool]], Policy | None] | None = None,
    ) -> None:
        assert material.path is not None
        self.interval = interval
        self._engine = engine
        self._replace_policy = replace_policy or engine.replace_policy
        self._path = material.path
        self._material = material
        self._keep = keep
        self._hints = hints
        self._files: set[str] = {str(one) for one in material.with_catalogs if isinstance(one, Path)}
        self._seen: files.Contents = {}  # what the last attempt was made with
        self._stats: files.Stats = {}
        self._compare_at = 0.0  # when bytes are compared again though no stat has changed
        self._loaded: Loaded | None = None
        self._state: State = "current"
        self._refusals = Refusals(engine, str(material.path), on_failure)
        self._reloads = 0
        self._prepare()

    def _prepare(self) -> None:
        self._busy = threading.RLock()
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._events = Events(self._woken.set) if self._hints else None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ from outside

    def first(self) -> Policy:
        """Read the files and put them in force, here and now.

        Raises:
            FileNotFoundError: There is no such file or folder.
            PolicyError: The policy has errors.
            UnsettledError: The files keep changing.
        """
        with self._busy:
            return self._attempt()

    def failed_at_start(self, error: Exception) -> None:
        """The files are bad, and something else is in force: say so, and wait for them to become good."""
        self._failed(error)
        self._refusals.tell()

    def start(self) -> None:
        """Begin to follow the files."""
        self._thread = threading.Thread(target=self._run, name="layerzero-watcher", daemon=True)
        _WATCHERS.add(self)
        self._thread.start()

    def end(self) -> None:
        """Begin nothing new; `stop` waits for what has begun."""
        _WATCHERS.discard(self)
        self._ended.set()
        self._woken.set()

    def stop(self) -> None:
        """End; what is in force stays. Once this returns, nothing is put in force any more."""
        self.end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is put in force inside."""
        with self._busy:
            yield

    def status(self) -> WatchStatus:
        """See WatchStatus."""
        return WatchStatus(
            path=str(self._path),
            state=self._state,
            how=self._how(),
            candidate=files.candidate(self._seen),
            failure=self._refusals.failure,
            reloads=self._reloads,
            last_good=None if self._keep is None else str(self._keep.problem or self._keep.file),
        )

    def revive(self) -> None:
        """Go on in a forked child, which has none of its parent's threads."""
        self._engine.after_fork()
        self._prepare()
        self.start()

    def _how(self) -> str:
        if self._events is None:
            return "polling"
        reasons = sorted(set(self._events.polled.values()))
        return f"polling ({', '.join(reasons)})" if reasons else "events and polling"

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            self._follow()
            self._look()  # an edit since the files were read
            while not self._ended.is_set():
                if self._woken.wait(self.interval):
                    self._woken.clear()
                    self._ended.wait(RESPITE)
                else:
                    self._follow()  # folders may have been removed and made again
                self._look()
        finally:
            if self._events is not None:
                self._events.close()

    def _look(self) -> None:
        """Compare the files with what was seen last; whatever goes wrong, the next look is not lost."""
        try:
            with self._busy:
                if not self._ended.is_set() and self._changed():
                    self._settle()
                    self._try()
                    self._follow()
        except Exception as error:
            log.exception("watching %s", self._path)
            self._failed(error)
        self._refusals.tell()

    def _try(self) -> None:
        try:
            policy = self._attempt()
        except UnsettledError as error:
            self._state = "unsettled"
            self._seen, self._stats = {}, {}  # so that the next look finds a change
            log.warning("%s", error)
        except (LayerZeroError, OSError) as error:
            self._failed(error)
        else:
            self._reloads += 1
            version = "" if policy.version is None else f" version {policy.version}"
            log.info("policy `%s`%s (%s) of %s is in force", policy.name, version, policy.digest[:12], self._path)

    def _settle(self) -> None:
        """Wait until the files have rested: the trailing edge of a burst of saves."""
        until = time.monotonic() + LONGEST_WAIT
        before = files.stats(self._all_files())
        while time.monotonic() < until and not self._ended.is_set():
            self._woken.clear()
            if self._woken.wait(QUIET):
                continue
            now = files.stats(self._all_files())
            if now == before:
                return
            before = now

    def _changed(self) -> bool:
        """Whether the files hold anything else than what was seen last."""
        every = self._all_files()
        stats, now = files.stats(every), time.monotonic()
        if stats == self._stats and now < self._compare_at:
            return False
        found = files.contents(every)
        took = time.monotonic() - now
        # A network file system, or a clock's tick, can leave the stat of a changed file as it was: bytes are compared
        # as often as looks are taken, unless that takes more than a twentieth of the time.
        self._compare_at = now + max(self.interval * 0.9, 20 * took)
        self._stats = stats
        return found != self._seen

    def _all_files(self) -> set[str]:
        return {str(one) for one in files.members(self._path)} | self._files

    def _follow(self) -> None:
        """Follow the folders that matter by now."""
        if self._events is None:
            return
        every = self._all_files() | {str(self._path)}
        folders = {folder for file in every for folder in files.folders(file)}
        root = files.root_folder(self._path)
        trees = [str(shipped("policies")), *([] if root is None or not root.is_dir() else [str(root)])]
        self._events.follow(folders, trees, {os.path.basename(file) for file in every})

    # ------------------------------------------------------------ one attempt

    def _attempt(self) -> Policy:
        """Put what is in the files in force, if it is good and all of one time."""
        for number in range(ATTEMPTS):
            if number:
                time.sleep(QUIET * number)
            every = self._all_files()
            stats, before = files.stats(every), files.contents(every)
            try:
                policy = self._replace_policy(self._material, functools.partial(self._accept, before, stats))
            except (PolicyError, OSError) as error:
                read = error.contents if isinstance(error, RefusedError) else {}
                wanted = error.wanted if isinstance(error, RefusedError) else ()
                self._files |= {*read, *wanted}
                if self._is_still(before, read, wanted):
                    raise
            else:
                if policy is not None:
                    self._succeeded()
                    return policy
        raise UnsettledError(f"{self._path} kept changing while it was read; the policy in force stays")

    def _accept(self, before: files.Contents, stats: files.Stats, loaded: Loaded) -> bool:
        """Asked by the engine when all is ready to be put in force."""
        for text in loaded.all_texts:
            if text.layer is Layer.POLICY and not text.source.text.strip():
                raise RefusedError(
                    f"{text.source.name} is empty: a file that is being written, or a write that failed. A policy that "
                    "wants nothing has a header or a comment",
                    (),
                    loaded.contents,
                    loaded.wanted,
                )
        if not self._is_still(before, loaded.contents, loaded.wanted):
            if not _was_whole(before, stats, loaded):
                self._files |= {*loaded.contents, *loaded.wanted}  # so that the next attempt knows them all before
                return False
            self._seen, self._stats = before, {}  # the next look, at once, finds the change
            self._woken.set()
        self._files = {*loaded.contents, *loaded.wanted}
        self._loaded = loaded
        return True

    def _is_still(self, before: files.Contents, read: files.Contents, wanted: tuple[str, ...]) -> bool:
        """Whether everything is now as it was before it was read, and as it was read; then that is what was seen."""
        stats = files.stats(self._all_files() | {*read, *wanted})
        now = files.contents(stats)
        same = all(now.get(file) == digest for file, digest in {**before, **read}.items())
        found = {file: digest for file, digest in now.items() if digest is not None}
        if not same or any(file not in before and file not in read for file in found):
            return False
        self._seen, self._stats = now, stats
        return True

    def _succeeded(self) -> None:
        self._state = "current"
        self._refusals.succeeded()
        if self._keep is not None and self._loaded is not None:
            self._keep.save(self._loaded.vocabulary.identity, self._loaded.all_texts)

    def _failed(self, error: Exception) -> None:
        self._state = "failed"
        self._refusals.failed(error, files.candidate(self._seen))


def _was_whole(before: files.Contents, stats: files.Stats, loaded: Loaded) -> bool:
    """Whether all files were of one time when they were read, and those that changed since were replaced: a version
    that a writer had not finished would still be in the file that it writes to."""
    read = {**loaded.contents, **dict.fromkeys(loaded.wanted)}
    if any(file not in before or before[file] != digest for file, digest in read.items()):
        return False
    return all(_same_or_replaced(stats[file], now) for file, now in files.stats(read).items())


def _same_or_replaced(before: tuple[int, ...] | None, now: tuple[int, ...] | None) -> bool:
    return before == now or (before is not None and now is not None and before[:2] != now[:2])


def _revive_all() -> None:
    for watcher in list(_WATCHERS):
        watcher.revive()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_revive_all)
