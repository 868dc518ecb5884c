"""The worker process: reads, checks and compiles policies for its parent, whose threads need not wait.

It answers one message after the other (frames.py, worker_data.py). What it returns is plain data: the words of the
program, forms by their digest, findings, and the texts that it read. It ends when its parent does.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, BinaryIO, Protocol

from layerzero.check import load_texts, require
from layerzero.check.checker import Checked
from layerzero.check.program import Layer, Text
from layerzero.compiler.form import OperationForm
from layerzero.errors import LayerZeroError, PolicyError
from layerzero.runtime.building import InProcess, Loaded, Material, adopt, content_digest, contents_of, read_material
from layerzero.runtime.child import NO_MEMORY
from layerzero.runtime.failures import Sources, finding_data
from layerzero.runtime.frames import ClosedError, from_pieces, receive, send, to_pieces
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.runtime.worker_data import Json, environment_from, key_of, material_from
from layerzero.syntax.source import Source

KEPT_PROGRAMS = 4
Answer = tuple[Json, list[bytes]]


class Answers(Protocol):
    """What a child process does: one answer for each request; `{"error": "memory"}` ends it."""

    def answer(self, request: Json, blobs: list[bytes]) -> Answer: ...


def main(memory: int, parent: int) -> None:
    """Build policies for the parent."""
    serve(memory, parent, Work)


def serve(memory: int, parent: int, make: Callable[[], Answers]) -> None:
    """Answer the parent over standard input and output until it closes them.

    Args:
        memory: Bytes of address space that this process may have; 0 is no limit.
        parent: Its process id; where that is no longer the parent's, this process ends.
        make: Makes what answers, once the limits hold.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # whatever prints goes to the parent's standard error, not among the replies
    _limit_memory(memory)
    if hasattr(os, "nice"):
        os.nice(5)  # the serving threads of the parent come first
    waiting: SimpleQueue[tuple[Any, list[bytes]]] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    work = make()
    while True:
        request, blobs = waiting.get()
        answer = work.answer(request, blobs)
        try:
            send(replies, *answer)
        except MemoryError:
            os._exit(NO_MEMORY)
        if answer[0].get("error") == "memory":
            os._exit(1)  # a heap that has been full is not to be trusted; the parent starts another worker


def _listen(requests: BinaryIO, waiting: SimpleQueue[tuple[Any, list[bytes]]]) -> None:
    """Beside the work, so that the end of the parent is noticed in the middle of it."""
    try:
        while True:
            text, blobs = receive(requests)
            waiting.put((from_pieces(text), blobs))
    except (ClosedError, OSError, ValueError):
        os._exit(0)
    except MemoryError:
        os._exit(NO_MEMORY)  # nobody would hear the next request


def _end_with(parent: int) -> None:
    """A process that the parent forked may hold the other end of the pipe open when the parent is dead."""
    ended = threading.Event()
    while os.name == "posix" and not ended.wait(1.0):
        if os.getppid() != parent:
            os._exit(0)


def _limit_memory(size: int) -> None:
    if size and os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        size = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))


class Work:
    """What the worker remembers between requests: programs by key, and forms as it has encoded them."""

    def __init__(self) -> None:
        self._builder = InProcess()
        self._programs: OrderedDict[str, Loaded] = OrderedDict()
        self._blobs: OrderedDict[str, bytes] = OrderedDict()  # of the last answer: forms and texts by digest
        self._encoded: OrderedDict[int, tuple[OperationForm, str, bytes]] = OrderedDict()

    def answer(self, request: Json, blobs: list[bytes]) -> Answer:
        """The reply to one request; whatever goes wrong is a reply too."""
        try:
            match request["do"]:
                case "load":
                    return self._load(material_from(request["material"], request["folder"]), request["have"])
                case "revise":
                    return self._revise(request, blobs)
                case "compile":
                    return self._compile(request)
                case "fetch":
                    return {}, [self._blobs[digest] for digest in request["digests"]]
                case other:
                    return {"error": "internal", "message": f"unknown request `{other}`"}, []
        except MemoryError:
            self._programs.clear()
            self._builder = InProcess()
            return {"error": "memory"}, []
        except FileNotFoundError as error:
            return {"error": "missing", "message": str(error)}, []
        except (LayerZeroError, OSError) as error:
            return {"error": "policy", "message": str(error)}, []
        except Exception:  # noqa: BLE001 - the parent says it: a worker that dies silently helps nobody
            return {"error": "internal", "message": traceback.format_exc()}, []

    def _load(self, material: Material, have: Sequence[str]) -> Answer:
        checked = read_material(material)
        return self._checked(checked, material, contents_of(checked), have)

    def _revise(self, request: Json, blobs: list[bytes]) -> Answer:
        texts = [
            Text(Source(name, blob.decode("utf-8", "surrogatepass")), Layer(layer), trusted)
            for (name, layer, trusted), blob in zip(request["texts"], blobs, strict=True)
        ]
        registered = frozenset(request["registered"])
        have = [content_digest(one.source.text) for one in texts]
        return self._checked(load_texts(texts), Material(registered=registered), {}, have)

    def _checked(
        self, checked: Checked, material: Material, contents: Mapping[str, str], have: Sequence[str]
    ) -> Answer:
        reply: Json = {"contents": contents, "wanted": list(checked.wanted)}
        sources = Sources()
        reply["warnings"] = [finding_data(one, sources) for one in checked.diagnostics]
        try:
            program = adopt(require(checked), material.registered)
        except PolicyError as error:
            reply |= {"error": "policy", "message": str(error)}
        else:
            vocabulary = Vocabulary.of(program)
            loaded = Loaded(material, vocabulary, lambda: program, checked.files, texts=program.texts)
            key = key_of(program.texts, material.registered)
            self._programs[key] = loaded
            self._programs.move_to_end(key)
            while len(self._programs) > KEPT_PROGRAMS:
                self._programs.popitem(last=False)
            reply["texts"] = [[sources.number(one.source), int(one.layer), one.trusted] for one in program.texts]
            reply |= {"key": key, "files": list(checked.files), "vocabulary": vocabulary.to_data()}
        return self._with_sources(reply, sources, have)

    def _with_sources(self, reply: Json, sources: Sources, have: Sequence[str]) -> Answer:
        """The reply with the texts that the parent does not have."""
        known, blobs = set(have), []
        reply["sources"] = []
        for source in sources.all:
            digest = content_digest(source.text)
            sent = digest not in known
            reply["sources"].append([source.name, digest, sent])
            if sent:
                known.add(digest)
                blobs.append(source.text.encode("utf-8", "surrogatepass"))
        return reply, blobs

    def _compile(self, request: Json) -> Answer:
        loaded = self._programs.get(request["key"])
        if loaded is None:
            return {"error": "unknown"}, []
        self._programs.move_to_end(request["key"])
        forms = self._builder.compile(loaded, environment_from(request["environment"]), request["devices"])
        self._blobs.clear()
        reply = []
        for form in forms:
            operations = {}
            for name, operation in form.operations.items():
                digest, data = self._encode(operation)
                self._blobs[digest] = data
                operations[name] = digest
            reply.append([form.program, form.environment, operations])
        return {"forms": reply}, []

    def _encode(self, operation: OperationForm) -> tuple[str, bytes]:
        """An operation's form as text, with its digest; the builder gives the same object where nothing changed."""
        known = self._encoded.get(id(operation))
        if known is not None:  # the entry keeps the object alive, so that its id stays its own
            self._encoded.move_to_end(id(operation))
            return known[1], known[2]
        data = to_pieces([operation.name, operation.to_data()])
        digest = hashlib.sha256(data).hexdigest()
        self._encoded[id(operation)] = (operation, digest, data)
        while len(self._encoded) > self._builder.kept:
            self._encoded.popitem(last=False)
        return digest, data
