"""A decision -> the region that it lies in: all that its outcome can depend on, as one hashable name."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping

from layerzero.check.expressions import Value
from layerzero.compiler.codegen import Region, generate_region
from layerzero.compiler.form import OperationForm
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import DEVICE_FIELDS

_MOST_FORMS = 512


class Regions:
    """Names regions. Equal names of one snapshot have equal outcomes. For one thread, the log's writer."""

    def __init__(self) -> None:
        self._functions: dict[int, tuple[OperationForm, Region]] = {}

    def of(self, decision: Decision) -> Hashable:
        snapshot, values, scope, arms = decision.snapshot, decision.values, decision.scope, decision.arms
        matcher = snapshot.known_matcher(values)
        read: Hashable
        filled: Mapping[str, Value] | None = {} if scope.view is None else snapshot.vocabulary.views[scope]
        if matcher is None or filled is None:
            # Decided by the interpreter around a kernel that failed, or in a view that only it can fill in.
            read = (tuple(sorted(snapshot.environment.open_breakers)), tuple(sorted(values.items())))
        else:
            read = self._function(matcher.form.operations[scope.operation])({**filled, **values}, arms)
        device = tuple(map(values.get, DEVICE_FIELDS))
        entered = tuple(sorted(arms.items())) if arms else ()
        digest = snapshot.identity.digest
        asked = (scope.operation, scope.view, device, read, entered)
        return (snapshot.epoch, digest, asked, decision.kernel, decision.recovered_from)

    def _function(self, form: OperationForm) -> Region:
        found = self._functions.get(id(form))
        if found is None:
            if len(self._functions) >= _MOST_FORMS:
                self._functions.clear()
            found = self._functions[id(form)] = (form, generate_region(form))  # the form is held, so its id is its own
        return found[1]


def region_id(region: Hashable) -> str:
    """The same for the same region in every process, so that its counts can be added up."""
    return hashlib.sha256(repr(region).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def share_of(request: object) -> float:
    """Where a request stands in 0..1: the first 8 bytes, big-endian, of SHA-256("lz.log NUL request") over 2^64."""
    digest = hashlib.sha256(b"lz.log\0" + str(request).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
