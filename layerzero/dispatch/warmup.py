"""A plan -> its kernels loaded, and those that compile at their first call called once, so that no request waits.

What was visited is remembered for the process: `cold` tells what of the plans is not, under the policy in force.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal as OneOf, TextIO

from layerzero.backends.machine import Adapter
from layerzero.check.expressions import Value
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.inputs import scope_of
from layerzero.dispatch.inspection import reader_of
from layerzero.dispatch.plan import Plan, PlannedCall, decided_anew
from layerzero.errors import ArgumentError, LayerZeroError
from layerzero.operations.call import Call
from layerzero.operations.shapes import example
from layerzero.semantics.context import complete

if TYPE_CHECKING:
    import torch

log = logging.getLogger("layerzero")

State = OneOf["ready", "failed"]
Visit = tuple[str, str, tuple[tuple[str, Value], ...]]
"""Operation, kernel and context; of a kernel that does not compile any context is as good as another: ()."""

MAX_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Warmed:
    """One visit: `called` where the kernel ran, else its function was loaded."""

    kernel: str
    shape: tuple[int, ...]
    state: State
    called: bool
    seconds: float
    problem: str = ""

    def __str__(self) -> str:
        done = self.problem if self.state == "failed" else "called" if self.called else "loaded"
        return f"{self.kernel} {self.shape}: {done}, {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class WarmupReport:
    """What `lz.warmup` did. `plan` is as decided by the policy in force."""

    plan: Plan
    visits: tuple[Warmed, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every call of the plan has a kernel, and every kernel is ready."""
        return not self.plan.errors and all(one.state == "ready" for one in self.visits)

    def __str__(self) -> str:
        errors = [f"{call.shape}: no kernel ({call.error})" for call in self.plan.errors]
        took = f"{self.seconds:.2f} s" if self.visits else "nothing was cold"
        return "\n".join([f"warm-up of {self.plan.operation}: {took}", *map(str, self.visits), *errors])


@dataclass
class Warmth:
    """What has been planned and what has been visited in this process."""

    dispatcher: Dispatcher
    plans: dict[str, Plan] = field(default_factory=dict)  # by all that was asked for: one asked for again is one plan
    visited: set[Visit] = field(default_factory=set)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def add(self, plan: Plan) -> Plan:
        key = repr((plan.operation, [(call.shape, sorted(call.context.items())) for call in plan.calls]))
        with self._changing:
            self.plans[key] = plan
        return plan

    def cold(self) -> list[str]:
        """What of the plans would still be loaded or compiled by a request, or has no kernel: one text each."""
        found: dict[str, None] = {}
        with self._changing:
            plans = list(self.plans.values())
        for plan in plans:
            try:
                now = decided_anew(self.dispatcher, plan)
            except LayerZeroError as error:
                found[f"{plan.operation} as planned does not fit the policy in force: {error}"] = None
                continue
            for call in now.calls:
                if call.kernel is None:
                    found[f"{now.operation} {call.shape} has no kernel: {call.error}"] = None
                elif self.visit(now.operation, call) not in self.visited:
                    found[f"{call.kernel} is cold for {now.operation} {call.shape}: lz.warmup makes it ready"] = None
        return list(found)

    def visit(self, operation: str, call: PlannedCall) -> Visit:
        assert call.kernel is not None
        compiles = self.compiles(call.kernel)
        return operation.partition(".")[0], call.kernel, tuple(sorted(call.context.items())) if compiles else ()

    def compiles(self, kernel: str) -> bool:
        """Whether a kernel says of itself that it compiles at its first call."""
        return self.dispatcher.engine.current().program.kernels[kernel].attributes.get("jit") is True

    def warm(self, plan: Plan, show: Callable[[int, int, str], None] | None = None) -> WarmupReport:
        """Visit every bucket of a plan: those of one backend in turn, different backends side by side.

        Args:
            show: Told before and after each visit how many are done, of how many, and what is next.
        """
        started = time.perf_counter()
        modes = _Modes()
        plan = self.add(decided_anew(self.dispatcher, plan))
        wanted: dict[Visit, PlannedCall] = {}
        for call in plan.calls:
            if call.kernel is not None:
                wanted.setdefault(self.visit(plan.operation, call), call)
        todo = {visit: call for visit, call in wanted.items() if visit not in self.visited}
        by_backend: dict[str, list[tuple[Visit, PlannedCall]]] = {}
        for visit, call in todo.items():
            by_backend.setdefault(visit[1].partition(".")[0], []).append((visit, call))
        done: list[Warmed] = []

        def work(visits: Sequence[tuple[Visit, PlannedCall]]) -> None:
            # INVARIANT: one thread a backend. Compilers keep state of their own that two threads would share.
            for visit, call in visits:
                if show is not None:
                    show(len(done), len(todo), f"{call.kernel} {call.shape}")
                done.append(self._visit(plan.operation, visit, call, modes))

        if by_backend:
            with ThreadPoolExecutor(min(MAX_WORKERS, len(by_backend)), "layerzero-warmup") as pool:
                # Each thread has the caller's pins and `lz.using`.
                running = [pool.submit(copy_context().run, work, visits) for visits in by_backend.values()]
                for finished in running:
                    finished.result()
        if show is not None:
            show(len(done), len(todo), "")
        for one in done:
            if one.state == "failed":
                log.warning("%s is not ready for %s %s: %s", one.kernel, plan.operation, one.shape, one.problem)
        return WarmupReport(plan, tuple(done), time.perf_counter() - started)

    def _visit(self, operation: str, visit: Visit, call: PlannedCall, modes: _Modes) -> Warmed:
        kernel, called = visit[1], bool(visit[2])
        started, problem = time.perf_counter(), ""
        try:
            adapter = self.dispatcher.function(self.dispatcher.engine.current(), kernel)
            if called:
                with modes.here():
                    self._call(operation, adapter, call)
        except Exception as error:  # noqa: BLE001 -- kernels raise anything; a warm-up goes on, and says it
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            with self._changing:
                self.visited.add(visit)
        state: State = "failed" if problem else "ready"
        return Warmed(kernel, call.shape, state, called, time.perf_counter() - started, problem)

    def _call(self, operation: str, adapter: Adapter, call: PlannedCall) -> None:
        """Call a kernel once, and wait for it."""
        import torch

        request = self.example_call(operation, call)
        adapter(*request.args, **request.kwargs)
        device = request.args[0].device
        if device.type not in ("cpu", "meta"):
            torch.accelerator.synchronize(device)

    def example_call(self, operation: str, call: PlannedCall) -> Call:
        """A call of zeros, on the device of the plan, that has the planned context."""
        snapshot = self.dispatcher.engine.current()
        scope = scope_of(snapshot, operation)
        values = complete(snapshot.program, scope, call.context).values
        args, kwargs = example(scope, values, torch_device(values))
        reader, _ = reader_of(scope, {"page_table": args[-1], **kwargs} if values.get("paged") else kwargs)
        return reader(*args, **kwargs)


class _Modes:
    """Whether the caller asks for gradients: what compiles, compiles for that, and each thread has its own."""

    def __init__(self) -> None:
        import torch

        self.gradients, self.inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    @contextmanager
    def here(self) -> Iterator[None]:
        import torch

        with torch.inference_mode(self.inference), torch.set_grad_enabled(self.gradients):
            yield


def torch_device(values: Mapping[str, Any]) -> torch.device:
    """A device of this machine that the context's device fields describe.

    Raises:
        ArgumentError: There is none.
    """
    import torch

    from layerzero.operations.device import device_fields

    kind = {"hip": "cuda"}.get(str(values["device"]), str(values["device"]))
    if kind == "cpu":
        return torch.device("cpu")
    count = getattr(torch, kind).device_count() if hasattr(torch, kind) else 0
    for index in range(count):
        device = torch.device(kind, index)
        own = device_fields(device)
        if all(values.get(name) == own.get(name) for name in ("device_name", "sm") if values.get(name) is not None):
            return device
    raise ArgumentError(f"this machine has no `{values['device']}` device as planned")


class ProgressBar:
    """A bar on a terminal, rewritten in place."""

    WIDTH = 24

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._writing = threading.Lock()

    def __call__(self, done: int, total: int, what: str) -> None:
        filled = self.WIDTH if not total else self.WIDTH * done // total
        with self._writing:
            self.stream.write(f"\r\x1b[Kwarm-up [{'#' * filled}{'.' * (self.WIDTH - filled)}] {done}/{total} {what}")
            if done == total:
                self.stream.write("\n")
            self.stream.flush()


def bar_if_wanted(progress: bool | None) -> ProgressBar | None:
    """None is: on a terminal."""
    wanted = sys.stderr.isatty() if progress is None else progress
    return ProgressBar() if wanted else None
