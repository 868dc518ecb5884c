"""Builds policies in a warm worker process, so that the threads of this one keep the interpreter lock.

The worker is a child, started when it is first needed. What comes back is unpacked in slices (see compiler.slices), and
an operation that a policy leaves as it was is not unpacked at all.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast
from weakref import WeakValueDictionary

from layerzero.check import load_texts, require
from layerzero.check.expressions import Value
from layerzero.check.program import Layer, Program, Text
from layerzero.compiler.form import Form, OperationForm
from layerzero.compiler.matcher import function_of
from layerzero.compiler.slices import Slices
from layerzero.errors import LayerZeroError, PolicyError
from layerzero.runtime.building import InProcess, Loaded, Material, adopt, content_digest, revised_texts
from layerzero.runtime.child import Child, ChildLostError
from layerzero.runtime.failures import finding_from
from layerzero.runtime.frames import from_pieces
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.runtime.worker_data import Json, environment_data, key_of, material_data
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

log = logging.getLogger("layerzero")

KEPT_FORMS = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy may take of the worker; past it the policy is refused, and the message names the limit."""

    seconds: float = 30.0  # for reading and checking, and again for compiling
    memory: int = 2 * 1024**3  # bytes of address space; 0 is no limit
    deaths: int = 5  # within a minute; then no other worker is started until the minute is over


class RefusedError(PolicyError):
    """A policy that the worker refused, with what it had read: `contents` and `wanted` as in Loaded."""

    def __init__(
        self,
        message: str,
        diagnostics: tuple[object, ...] = (),
        contents: Mapping[str, str] | None = None,
        wanted: Sequence[str] = (),
    ) -> None:
        super().__init__(message, diagnostics)
        self.contents: Mapping[str, str] = contents or {}
        self.wanted = tuple(wanted)


class WorkerLostError(LayerZeroError):
    """The worker gave no answer. `again` says whether another one may."""

    def __init__(self, message: str, again: bool) -> None:
        super().__init__(message)
        self.again = again


class Worker:
    """Implements runtime.building.Builder. Threads share it; their requests queue.

    Attributes:
        longest: The longest stretch, in seconds, for which unpacking kept the interpreter lock.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.longest = 0.0
        self._forget()

    def _forget(self) -> None:
        """Begin anew, also in a forked child: the process that its parent started is not its own."""
        self._pid = os.getpid()
        self._asking = threading.RLock()
        self._child: Child | None = None
        self._deaths: deque[float] = deque(maxlen=self.limits.deaths)
        self._sources: WeakValueDictionary[tuple[str, str], Source] = WeakValueDictionary()
        self._forms: OrderedDict[str, OperationForm] = OrderedDict()
        self._served: OrderedDict[str, None] = OrderedDict()  # keys of programs that were compiled before

    # ------------------------------------------------------------ the builder

    def load(self, material: Material) -> Loaded:
        """See Builder.

        Raises:
            RefusedError: The policy has errors, or passed a limit.
        """
        held = dict(self._sources.items())  # keeps alive until the answer what the worker is told is here
        have = sorted({digest for _, digest in held})
        request = {"do": "load", "material": material_data(material), "folder": os.getcwd(), "have": have}
        return self._loaded(material, *self._insist(request), {digest: one.text for (_, digest), one in held.items()})

    def revise(self, loaded: Loaded, material: Material) -> Loaded:
        """See Builder."""
        made = self._from_texts(revised_texts(loaded, material), material)
        return replace(made, files=loaded.files, contents=loaded.contents, wanted=loaded.wanted)

    def compile(
        self, loaded: Loaded, environment: Environment, devices: Sequence[Mapping[str, Value | None]]
    ) -> list[Form]:
        """See Builder. A policy that has been in force is compiled here, and the log says so, where there is no worker:
        a breaker that opens may not wait for one."""
        key = loaded.key or key_of(loaded.all_texts, loaded.material.registered)
        try:
            forms = self._compile(key, loaded, environment, devices)
        except (WorkerLostError, RefusedError) as error:
            if loaded.key and loaded.key not in self._served:
                raise RefusedError(str(error), (), loaded.contents, loaded.wanted) from error
            log.warning("the policy is compiled in this process, whose threads may wait for it: %s", error)
            forms = InProcess().compile(loaded, environment, devices)
        self._served[key] = None
        self._served.move_to_end(key)
        while len(self._served) > KEPT_FORMS:
            self._served.popitem(last=False)
        return forms

    def _compile(
        self, key: str, loaded: Loaded, environment: Environment, devices: Sequence[Mapping[str, Value | None]]
    ) -> list[Form]:
        request = {
            "do": "compile",
            "key": key,
            "environment": environment_data(environment),
            "devices": [dict(one) for one in devices],
        }
        with self._lock():
            reply, _ = self._insist(request)
            if reply.get("error") == "unknown":  # another worker, or one that has seen many policies since
                self._from_texts(loaded.all_texts, loaded.material)
                reply, _ = self._insist(request)
            self._raise_if_refused(reply)
            wanted = {digest for _, _, operations in reply["forms"] for digest in operations.values()}
            self._fetch(sorted(wanted - self._forms.keys()))
            forms = []
            for (program, where, operations), device in zip(reply["forms"], devices, strict=True):
                found = {name: self._forms[digest] for name, digest in operations.items()}
                forms.append(Form(program, where, device, found))
            for digest in wanted:
                self._forms.move_to_end(digest)
            while len(self._forms) > KEPT_FORMS:
                self._forms.popitem(last=False)
            return forms

    def _fetch(self, digests: Sequence[str]) -> None:
        """Unpack forms that are not here, and generate their functions, a slice at a time."""
        if not digests:
            return
        reply, blobs = self._insist({"do": "fetch", "digests": digests})
        self._raise_if_refused(reply)
        slices = Slices()
        for digest, blob in zip(digests, blobs, strict=True):
            name, data = from_pieces(blob, slices.each)
            form = OperationForm.from_data(name, data, slices.each)
            slices.rest()
            function_of(form, slices.each)
            slices.rest()
            self._forms[digest] = form
        self.longest = max(self.longest, slices.longest)

    def _from_texts(self, texts: Sequence[Text], material: Material) -> Loaded:
        described = [[one.source.name, int(one.layer), one.trusted] for one in texts]
        blobs = [one.source.text.encode("utf-8", "surrogatepass") for one in texts]
        request = {"do": "revise", "texts": described, "registered": sorted(material.registered)}
        return self._loaded(
            material, *self._insist(request, blobs), {content_digest(t.source.text): t.source.text for t in texts}
        )

    def _loaded(self, material: Material, reply: Json, blobs: list[bytes], held: dict[str, str]) -> Loaded:
        """What the worker has read and checked; the whole program is built here when somebody asks for it."""
        sources = self._known(reply.get("sources", ()), blobs, held)
        findings = tuple(finding_from(one, sources) for one in reply.get("warnings", ()))
        self._raise_if_refused(reply, findings)
        texts = tuple(Text(sources[number], Layer(layer), trusted) for number, layer, trusted in reply["texts"])

        @functools.cache
        def program() -> Program:
            return adopt(require(load_texts(texts)), material.registered)

        return Loaded(
            material=material,
            vocabulary=Vocabulary.from_data(reply["vocabulary"]),
            program=program,
            files=tuple(reply["files"]),
            warnings=findings,
            texts=texts,
            contents=reply["contents"],
            wanted=tuple(reply["wanted"]),
            key=reply["key"],
        )

    def _known(
        self, described: Sequence[tuple[str, str, bool]], blobs: Sequence[bytes], texts: dict[str, str]
    ) -> list[Source]:
        """The sources of a reply: those that came with it, and those whose texts are here already, by digest."""
        coming = iter(blobs)
        sources = []
        for name, digest, sent in described:
            if sent:
                texts[digest] = next(coming).decode("utf-8", "surrogatepass")
            source = self._sources.get((name, digest)) or Source(name, texts[digest])
            self._sources[name, digest] = source
            sources.append(source)
        return sources

    def _raise_if_refused(self, reply: Json, findings: tuple[object, ...] = ()) -> None:
        contents, wanted = reply.get("contents"), reply.get("wanted", ())
        match reply.get("error"):
            case None:
                return
            case "missing":
                raise FileNotFoundError(reply["message"])
            case "policy":
                raise RefusedError(reply["message"], findings, contents, wanted)
            case "memory":
                limit = self.limits.memory // 1024**2
                raise RefusedError(f"reading and compiling the policy takes more than {limit} MiB, which is the limit")
            case other:
                raise RefusedError(f"the worker process failed ({other}): {reply.get('message', '')}".rstrip(": "))

    # ------------------------------------------------------------ the process

    def _lock(self) -> threading.RLock:
        if self._pid != os.getpid():
            self._forget()
        return self._asking

    def _insist(self, request: Json, blobs: Sequence[bytes] = ()) -> tuple[Json, list[bytes]]:
        """Ask, and once more where the worker died: it may have died of something else.

        Raises:
            RefusedError: The request took longer than the limit, or two workers died of it.
        """
        try:
            return self._ask(request, blobs)
        except WorkerLostError as error:
            if not error.again:
                raise RefusedError(str(error)) from error
        try:
            return self._ask(request, blobs)
        except WorkerLostError as second:
            raise RefusedError(f"{second}, twice" if second.again else str(second)) from second

    def _ask(self, request: Json, blobs: Sequence[bytes]) -> tuple[Json, list[bytes]]:
        with self._lock():
            child = self._running()
            try:
                text, answers = child.ask(request, blobs, self.limits.seconds)
            except ChildLostError as error:
                raise self._lost(error) from error
            slices = Slices()
            reply = cast(Json, from_pieces(text, slices.each))
            self.longest = max(self.longest, slices.longest)
            if reply.get("error") == "memory":
                self._end()
            return reply, answers

    def _lost(self, error: ChildLostError) -> WorkerLostError:
        self._child = None
        if error.overdue:
            limit = f"{self.limits.seconds:g} s, which is the limit"
            message = f"reading or compiling the policy takes longer than {limit}"
            return WorkerLostError(message, again=False)
        self._deaths.append(time.monotonic())
        message = f"the worker process {error} while it worked on the policy"
        if error.broke and self.limits.memory:
            message += (
                f", perhaps for want of memory: it may take {self.limits.memory // 1024**2} MiB, which is the limit"
            )
        return WorkerLostError(message, again=True)

    def _running(self) -> Child:
        if self._child is not None:
            if self._child.runs:
                return self._child
            self._lost(self._child.end())  # it ended between two requests, which counts as well
        if len(self._deaths) == self.limits.deaths and time.monotonic() - self._deaths[0] < 60:
            message = f"the worker process died {self.limits.deaths} times within a minute; it is not started again yet"
            raise WorkerLostError(message, again=False)
        try:
            self._child = Child("layerzero.runtime.worker_main", self.limits.memory)
        except OSError as error:
            raise WorkerLostError(f"the worker process cannot be started: {error}", again=False) from error
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None

    @property
    def pid(self) -> int | None:
        """The worker's process id, None where none runs."""
        child = self._child if self._pid == os.getpid() else None
        return child.pid if child is not None and child.runs else None

    def start(self) -> None:
        """Have the worker ready before it is needed.

        Raises:
            WorkerLostError: It cannot be started.
        """
        with self._lock():
            self._running()

    def close(self) -> None:
        """End the worker; the next request starts another."""
        with self._lock():
            self._end()


@functools.cache
def shared_worker() -> Worker:
    """The one worker of this process, for all its engines."""
    return Worker()
