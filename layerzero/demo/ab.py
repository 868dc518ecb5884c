"""A server loop under an A/B test: policies are swapped while threads serve, two arms misbehave, guards end them.

The kernels are real; the two bad ones wrap a real one and come late, or fail every tenth time. What is printed is what
an operator would see: the versions put in force, and the log of LayerZero.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from layerzero import api as lz
from layerzero.demo.report import WIDTH, fold
from layerzero.dispatch.trace import CallRecord

THREADS = 4
PACE = 0.002  # seconds between two requests of a thread
LATE = 0.005  # seconds that the slow kernel sleeps
PATIENCE = 60.0  # seconds for a guard to end an arm that misbehaves
BETWEEN_SWAPS = 0.05
LINGER = 0.5  # seconds for which a version serves that nobody has to end
TOLERANCE = 1e-5

SLOW = 'kernel demo.slow for silu { "silu, 5 ms late" priority 1 }'
FAILING = 'kernel demo.failing for silu { "silu, every tenth call fails" priority 1 }'
EXPERIMENT = """
experiment {name}_silu on request_id {{
  arm control 50%
  arm {name}    50% {{ boost demo.{name} by 1000 for silu }}
  guard {guard}
}}
"""
PLAIN = ""
GUARDS = {"slow": "p50_latency < 2 * control", "failing": "error_rate < 1%"}


@dataclass(frozen=True, slots=True)
class ServedArm:
    """What the requests of one version and arm were."""

    version: str
    arm: str
    requests: int
    kernel_errors: int
    p50_ms: float
    p95_ms: float


@dataclass
class AbTest:
    """Everything that the demo showed, for `lz demo ab --json`."""

    seconds: float = 0.0
    requests: int = 0
    failed_requests: int = 0
    wrong_answers: int = 0
    wrong_decisions: int = 0
    epochs: int = 0
    stopped: dict[str, str] = field(default_factory=dict)  # arm -> why
    arms: list[ServedArm] = field(default_factory=list)
    timeline: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether the guards ended both bad arms, and no request noticed."""
        bad = self.failed_requests + self.wrong_answers + self.wrong_decisions
        return bad == 0 and set(self.stopped) == {f"{name}_silu.{name}" for name in GUARDS}

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "held": self.held}


class Server:
    """Threads that serve requests until `stop`: a norm, an attention over a short cache and an activation each."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.x, self.weight = torch.randn(1, 256), torch.ones(256)
        self.q, self.k = torch.randn(1, 1, 4, 32), torch.randn(1, 64, 4, 32)
        self.expected = self._by_torch()
        self.latencies: dict[tuple[str, str], list[float]] = {}
        self.counts: Counter[str] = Counter()
        self.kernel_errors: Counter[tuple[str, str]] = Counter()
        self.epochs: set[int] = set()
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30.0)

    def _serve(self) -> None:
        torch.set_num_threads(1)
        while not self._over.wait(PACE):
            began = time.perf_counter()
            with lz.trace() as records:
                try:
                    with lz.request(request_id=f"r-{next(self._numbers)}"):
                        answers = self._by_layerzero()
                except Exception:
                    logging.getLogger("layerzero.demo").exception("a request failed")
                    answers = None
            self._note(records, answers, (time.perf_counter() - began) * 1e3)

    def _note(self, records: list[CallRecord], answers: list[torch.Tensor] | None, took: float) -> None:
        decision = records[-1].decision
        key = (decision.policy.version or "", next(iter(decision.arms.values()), "-"))
        right = answers is not None and all(
            bool((got - wanted).abs().max() < TOLERANCE) for got, wanted in zip(answers, self.expected, strict=True)
        )
        with self._lock:
            self.counts["requests"] += 1
            self.counts["failed"] += answers is None
            self.counts["wrong answers"] += not right
            self.counts["wrong decisions"] += not all(map(_as_its_policy_says, records))
            self.kernel_errors[key] += any(record.error is not None for record in records)
            self.epochs.update(record.decision.epoch for record in records)
            self.latencies.setdefault(key, []).append(took)

    def _by_layerzero(self) -> list[torch.Tensor]:
        return [lz.rms_norm(self.x, self.weight), lz.attention(self.q, self.k, self.k), lz.silu(self.x)]

    def _by_torch(self) -> list[torch.Tensor]:
        q, k = self.q.transpose(1, 2), self.k.transpose(1, 2)
        attended = functional.scaled_dot_product_attention(q, k, k).transpose(1, 2)
        return [functional.rms_norm(self.x, (256,), self.weight, 1e-6), attended, functional.silu(self.x)]

    def arms(self) -> list[ServedArm]:
        """The requests by version and arm."""
        with self._lock:
            found = {key: sorted(values) for key, values in self.latencies.items()}
        return [
            ServedArm(version, arm, len(ms), self.kernel_errors[version, arm], _quantile(ms, 0.5), _quantile(ms, 0.95))
            for (version, arm), ms in sorted(found.items())
        ]


def _as_its_policy_says(record: CallRecord) -> bool:
    """A kernel of the demo serves exactly the requests of its arm; where it failed, another one goes on."""
    decision = record.decision
    wanted = {f"demo.{arm}" for arm in decision.arms.values()} & {"demo.slow", "demo.failing"}
    if decision.scope.operation != "silu" or decision.recovered_from or not wanted:
        return decision.kernel is not None and not decision.kernel.startswith("demo.")
    return decision.kernel in wanted


def _quantile(values: list[float], share: float) -> float:
    return round(values[int(len(values) * share)], 2)


# ---------------------------------------------------------------- the run


def run(say: Callable[[str], None]) -> AbTest:
    """Runs the demo; every line of the timeline is said as it happens. Afterwards the shipped policy is in force."""
    shown, began = AbTest(), time.perf_counter()

    def tell(text: str) -> None:
        for number, line in enumerate(fold(text, WIDTH - 10)):
            shown.timeline.append(f"{time.perf_counter() - began:6.2f} s  {line}" if not number else f"{'':10}{line}")
            say(shown.timeline[-1])

    server = Server()
    with tempfile.TemporaryDirectory() as folder, _logged(tell):
        saves = _Saves(Path(folder) / "ab.lzp")
        saves.save(1, PLAIN)
        lz.configure(saves.file, watch="poll", interval=0.05)
        _register()
        began = time.perf_counter()
        try:
            server.start()
            tell(f"version 1 is in force; {THREADS} threads serve rms_norm, attention and silu")
            _follow(saves, 1, PLAIN, lambda: False, LINGER)
            for version, (name, guard) in enumerate(GUARDS.items(), 2):
                rules = EXPERIMENT.format(name=name, guard=guard)
                tell(f"version {version}: half of the requests try `demo.{name}` for silu; guard {guard}")
                reason = _until_stopped(saves, version, rules, (f"{name}_silu", name))
                if reason is None:
                    tell(f"after {PATIENCE:g} s no guard has ended arm `{name}`")
                else:
                    shown.stopped[f"{name}_silu.{name}"] = reason
            tell("rolled back: version 1 again")
            _follow(saves, 1, PLAIN, lambda: False, LINGER)
        finally:
            server.stop()
            lz.configure(None)
    shown.seconds = round(time.perf_counter() - began, 2)
    shown.requests, shown.failed_requests = server.counts["requests"], server.counts["failed"]
    shown.wrong_answers, shown.wrong_decisions = server.counts["wrong answers"], server.counts["wrong decisions"]
    shown.epochs, shown.arms = len(server.epochs), server.arms()
    return shown


def summary(shown: AbTest) -> Iterator[str]:
    """The end of the demo as lines."""
    yield ""
    yield f"{'version':<9}{'arm':<9}{'requests':>9}{'kernel errors':>15}{'p50 ms':>9}{'p95 ms':>9}"
    for arm in shown.arms:
        numbers = f"{arm.requests:>9}{arm.kernel_errors:>15}{arm.p50_ms:>9.2f}{arm.p95_ms:>9.2f}"
        yield f"{arm.version:<9}{arm.arm:<9}{numbers}"
    yield ""
    yield f"{shown.requests} requests in {shown.seconds:.1f} s, decided by {shown.epochs} snapshots"
    yield f"failed requests: {shown.failed_requests}; answers that are not torch's: {shown.wrong_answers}"
    yield f"decisions that are not what their own policy says: {shown.wrong_decisions}"


def _until_stopped(saves: _Saves, version: int, rules: str, arm: tuple[str, str]) -> str | None:
    """Serve a version until a guard ends an arm of it; the reason, None where it does not."""
    stopped = _follow(saves, version, rules, lambda: arm in lz.status().stopped_arms, PATIENCE)
    if not stopped:
        return None
    with lz.pin() as snapshot:
        reason = snapshot.environment.stop_reasons[arm]
    _follow(saves, version, rules, lambda: False, LINGER)  # how its requests go on as control
    return reason


def _follow(saves: _Saves, version: int, rules: str, done: Callable[[], bool], seconds: float) -> bool:
    """Save another variant of a version as soon as the one before is in force, until `done` or the time is over."""
    until = time.monotonic() + seconds
    while True:
        epoch = lz.status().epoch
        saves.save(version, rules)
        while lz.status().epoch == epoch or lz.status().version != str(version):
            if done():
                return True
            if time.monotonic() > until + PATIENCE:
                return False
            time.sleep(0.01)
        if done() or time.monotonic() > until:
            return done()
        time.sleep(BETWEEN_SWAPS)


class _Saves:
    """A policy file that is replaced as a whole; each save has a rule of its own, which changes scores, no kernel."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._variants = itertools.cycle(range(10))

    def save(self, version: int, rules: str) -> None:
        other = self.file.with_suffix(".new")
        head = f'policy "ab" version {version}\nboost torch.* by 1.0{next(self._variants)}\n'
        other.write_text(head + rules, encoding="utf-8")
        other.replace(self.file)


def _register() -> None:
    calls = itertools.count(1)

    def slow(x: torch.Tensor) -> torch.Tensor:
        time.sleep(LATE)
        return functional.silu(x)

    def failing(x: torch.Tensor) -> torch.Tensor:
        if next(calls) % 10 == 0:
            raise RuntimeError("injected: every tenth call fails")
        return functional.silu(x)

    known = {kernel.id for kernel in lz.list_kernels("silu")}
    for function, catalog in ((slow, SLOW), (failing, FAILING)):
        if catalog.split()[1] not in known:
            lz.register_kernel(function, catalog)


@contextmanager
def _logged(tell: Callable[[str], None]) -> Iterator[None]:
    """Warnings of LayerZero are lines of the timeline."""
    log = logging.getLogger("layerzero")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(f"log: {record.getMessage()}")

    handler, before = Handler(logging.WARNING), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before
