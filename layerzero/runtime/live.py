"""`lz.configure`: which policy an engine has, whether its files or its source are followed, and what happens where they
are bad."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, Protocol

from layerzero.errors import ArgumentError, LayerZeroError
from layerzero.runtime.building import Material
from layerzero.runtime.engine import Engine
from layerzero.runtime.events import require_watchdog
from layerzero.runtime.failures import Failure, WatchStatus
from layerzero.runtime.last_good import LastGood
from layerzero.runtime.policy import Policy
from layerzero.runtime.watcher import Watcher
from layerzero.runtime.worker import shared_worker

log = logging.getLogger("layerzero")

Watch = bool | Literal["poll"]


class Following(Protocol):
    """Keeps an engine at the newest good version of its policy: a Watcher of files, or what follows a source."""

    def first(self) -> Policy:
        """Put the policy in force, here and now; raises where there is none."""
        ...

    def start(self) -> None:
        """Follow it in a thread."""
        ...

    def end(self) -> None:
        """Begin nothing new."""
        ...

    def stop(self) -> None:
        """End; once this returns, nothing is put in force any more."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Nothing is put in force inside."""
        ...

    def status(self) -> WatchStatus:
        """How it goes."""
        ...


class Live:
    """The policy of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._in_process = engine.builder
        self._changing = threading.RLock()
        self._watcher: Following | None = None

    def configure(
        self,
        policy: str | Path | Policy | None,
        watch: Watch = False,
        on_failure: Callable[[Failure], None] | None = None,
        keep_last_good: bool | str | Path = False,
        interval: float = 1.0,
    ) -> Policy:
        """See lz.configure; on an error everything is as before, the watching too."""
        path = Path(policy) if isinstance(policy, str | Path) else None
        check_watching(watch, on_failure, interval)
        if path is None and (watch or keep_last_good):
            raise ArgumentError("arguments `watch` and `keep_last_good` want the path of a policy")
        if watch is True:
            require_watchdog()
        if path is not None and (watch or keep_last_good):
            path = Path(os.path.abspath(path))  # the program may change its folder later; links stay links
        keep = None
        if path is not None and keep_last_good:
            keep = LastGood(path, None if keep_last_good is True else Path(keep_last_good))
        if path is None or not watch:
            return self._change(lambda: self._once(policy if path is None else path, keep), None)
        watcher = Watcher(
            self._engine,
            Material(path=path),
            interval=interval,
            hints=watch is True,
            on_failure=on_failure,
            keep=keep,
        )
        return self._change(lambda: self._watch(watcher, path, keep), watcher)

    def follow(self, follower: Following, watch: bool) -> Policy:
        """Put in force what a follower finds; with `watch`, what it finds later too. On an error all is as before."""
        return self._change(lambda: self._compiled_aside(follower.first), follower if watch else None)

    def _change(self, change: Callable[[], Policy], watcher: Following | None) -> Policy:
        """Make a change, and have its watcher in the place of the one before."""
        with self._changing, nullcontext() if self._watcher is None else self._watcher.paused():
            found = change()
            before, self._watcher = self._watcher, watcher
            if before is not None:
                before.end()
            self._engine.watching = None if watcher is None else watcher.status
        if before is not None:
            before.stop()
        if watcher is not None:
            watcher.start()
        return found

    def stop(self) -> None:
        """Watch no more; what is in force stays."""
        with self._changing:
            before, self._watcher = self._watcher, None
            self._engine.watching = None
        if before is not None:
            before.stop()

    def _watch(self, watcher: Watcher, path: Path, keep: LastGood | None) -> Policy:
        def first() -> Policy:
            try:
                return watcher.first()
            except (LayerZeroError, OSError) as error:
                found = self._kept(path, keep, error)
                if found is None:
                    raise
                watcher.failed_at_start(error)
                return found

        return self._compiled_aside(first)

    def _compiled_aside(self, first: Callable[[], Policy]) -> Policy:
        """Put a policy in force that is compiled in the worker, as all that follow it."""
        builder = self._engine.builder
        self._engine.builder = shared_worker()
        try:
            return first()
        except BaseException as error:
            self._engine.builder = builder
            self._engine.failed(str(error))
            raise

    def _once(self, policy: Path | str | Policy | None, keep: LastGood | None) -> Policy:
        builder, self._engine.builder = self._engine.builder, self._in_process
        try:
            try:
                found = self._engine.configure(policy)
            except (LayerZeroError, OSError) as error:
                kept = None if keep is None else self._kept(keep.path, keep, error)
                if kept is None:
                    raise
                log.error("%s is not in force: %s", policy, error)
                return kept
            if keep is not None:
                keep.save(found.snapshot.identity, found.snapshot.texts)
            return found
        except BaseException:
            self._engine.builder = builder
            raise

    def _kept(self, path: Path, keep: LastGood | None, error: Exception) -> Policy | None:
        """Put the version of the last good start in force, if there is one."""
        if keep is None:
            return None
        try:
            texts = keep.read()
            found = self._engine.configure(Material(path=path, kept=texts))
        except (LayerZeroError, OSError, ValueError, KeyError, TypeError) as problem:
            error.add_note(f"layerzero: no last good policy instead: {problem}")
            return None
        log.error("%s is bad or absent: the last good policy, kept in %s, is in force instead", path, keep.file)
        return found


def check_watching(watch: object, on_failure: object, interval: object) -> None:
    """Refuse wrong arguments of `configure`."""
    if watch not in (True, False, "poll"):
        raise ArgumentError(f'argument `watch`: wanted True, False or "poll", given {watch!r}')
    if on_failure is not None and not (callable(on_failure) and watch):
        raise ArgumentError("argument `on_failure` wants a callable, and `watch`")
    if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval <= 86_400:
        raise ArgumentError(f"argument `interval`: wanted seconds above 0, at most a day, given {interval!r}")
