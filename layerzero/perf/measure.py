"""Calls -> microseconds each: warmed up, in turn, round by round, so that a busy moment falls on all of them.

Three clocks. On a CPU a call is over when it returns. On a GPU an eager call is worth the larger of its time on the
device and of the host's time to launch it, with the device's cache emptied before; in a CUDA graph only the device
counts. The best kernel of one regime is often not that of the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from layerzero.errors import LayerZeroError

if TYPE_CHECKING:
    import torch

Thunk = Callable[[], Any]

SLOW = 20.0  # times the fastest: one that is so far off is called as seldom as allowed


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds of one call: the median over the repeats, and the spread between their quartiles."""

    median_us: float
    spread_us: float
    device_us: float
    host_us: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A kernel that raised: `RuntimeError: head_size should be a multiple of 8`."""

    text: str


@dataclass(frozen=True, slots=True)
class Lap:
    """One call: its time on the device and on the host, in microseconds."""

    device_us: float
    host_us: float


class Clock(Protocol):
    """How calls are timed on one kind of device, in one regime."""

    def prepare(self, call: Thunk) -> Thunk:
        """What is timed in place of the call, warmed up; raises what the call raises."""

    def laps(self, call: Thunk, number: int) -> Sequence[Lap]:
        """Time a prepared call some times in a row."""

    def worth(self, lap: Lap) -> float:
        """The one number that counts."""

    def check(self) -> None:
        """Raise DeviceLostError where no further call can be made in this process."""


class DeviceLostError(LayerZeroError):
    """A kernel took the device's context with it: what this process would measure from here on is worthless."""


class CpuClock:
    """A call is over when it returns."""

    def prepare(self, call: Thunk) -> Thunk:
        call()
        return call

    def laps(self, call: Thunk, number: int) -> Sequence[Lap]:
        found = []
        for _ in range(number):
            started = perf_counter()
            call()
            took = (perf_counter() - started) * 1e6
            found.append(Lap(took, took))
        return found

    def worth(self, lap: Lap) -> float:
        return lap.device_us

    def check(self) -> None:
        return


class CudaClock:
    """Eager calls: events on the stream around each, and the host's clock around its launch."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._device = device
        properties = torch.cuda.get_device_properties(device)
        self._cache = torch.empty(2 * getattr(properties, "L2_cache_size", 64 << 20), dtype=torch.int8, device=device)

    def prepare(self, call: Thunk) -> Thunk:
        import torch

        for _ in range(2):
            call()
        torch.cuda.synchronize(self._device)
        return call

    def laps(self, call: Thunk, number: int) -> Sequence[Lap]:
        import torch

        events, host = [], []
        for _ in range(number):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            self._cache.zero_()  # also keeps the device busy while the host comes to the launch
            begin.record()
            started = perf_counter()
            call()
            host.append((perf_counter() - started) * 1e6)
            end.record()
            events.append((begin, end))
        torch.cuda.synchronize(self._device)
        return [Lap(begin.elapsed_time(end) * 1e3, took) for (begin, end), took in zip(events, host, strict=True)]

    def worth(self, lap: Lap) -> float:
        return max(lap.device_us, lap.host_us)

    def check(self) -> None:
        import torch

        try:
            torch.cuda.synchronize(self._device)
            torch.zeros(1, device=self._device).item()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            raise DeviceLostError(f"the context of {self._device} is lost: {said(error)}") from error


class CudaGraphClock(CudaClock):
    """The same call, recorded once into a CUDA graph and replayed."""

    def prepare(self, call: Thunk) -> Thunk:
        import torch

        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(2):
                call()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = call()

        def replay(graph: torch.cuda.CUDAGraph = graph, kept: Any = kept) -> Any:
            graph.replay()
            return kept  # lives as long as the graph writes to it

        replay()
        torch.cuda.synchronize(self._device)
        return replay

    def worth(self, lap: Lap) -> float:
        return lap.device_us


def clock_for(device: torch.device, graph: bool = False) -> Clock:
    """The clock of a device; `graph` asks for the regime inside a CUDA graph."""
    if device.type != "cuda":
        return CpuClock()
    return CudaGraphClock(device) if graph else CudaClock(device)


def measure(
    calls: Mapping[str, Thunk],
    clock: Clock,
    repeats: int = 7,
    laps: int = 3,
    watch: Watch | None = None,
) -> dict[str, Timing | Failed]:
    """The time of each call.

    Args:
        calls: By name; each takes nothing and may be made any number of times.
        clock: Times them.
        repeats: Rounds over all calls, at least 5 where the figure is to be trusted. One that is far behind the fastest
            is called in the first round alone.
        laps: Calls in a row within a round; a round is worth their median.
        watch: Told of each name before its first call, and when that is over.

    Returns:
        By name; one that raises is `Failed`, and the others go on.

    Raises:
        DeviceLostError: After a call that no other can follow; `watch` has heard which it was.
    """
    watch = watch or Watch()
    found: dict[str, Timing | Failed] = {}
    ready: dict[str, Thunk] = {}
    first: dict[str, float] = {}
    for name, call in calls.items():
        watch.starting(name)
        try:
            ready[name] = clock.prepare(call)
            first[name] = clock.worth(clock.laps(ready[name], 1)[0])
        except Exception as error:  # noqa: BLE001 - a kernel may raise anything; that is the answer
            ready.pop(name, None)
            found[name] = _failed(name, error, clock, watch)
        except BaseException:  # Ctrl-C says nothing about the kernel
            watch.started(name)
            raise
        watch.started(name)
    fastest = min(first.values(), default=0.0)
    rounds: dict[str, list[Lap]] = {name: [] for name in ready}
    for turn in range(repeats):
        # There and back: a kernel that heats the device must not always slow the same next one.
        for name, call in list(ready.items())[:: 1 if turn % 2 == 0 else -1]:
            slow = first[name] > SLOW * fastest
            if slow and turn:
                continue
            try:
                rounds[name].append(_middle(clock, clock.laps(call, 1 if slow else laps)))
            except Exception as error:  # noqa: BLE001 - as above
                del ready[name]
                found[name] = _failed(name, error, clock, watch)
    for name in ready:
        found[name] = _timing(clock, rounds[name])
    return {name: found[name] for name in calls}


class Watch:
    """Hears how a measurement goes on; this one does nothing with it."""

    def starting(self, name: str) -> None:
        """A call is about to be made for the first time."""

    def started(self, name: str) -> None:
        """It came back, or raised."""

    def lost(self, name: str, failed: Failed) -> None:
        """It raised, and no other call can be made any more."""


def _failed(name: str, error: Exception, clock: Clock, watch: Watch) -> Failed:
    failed = Failed(said(error))
    try:
        clock.check()
    except DeviceLostError:
        watch.lost(name, failed)
        raise
    return failed


def said(error: Exception) -> str:
    """`RuntimeError: the first line`, as reports show it."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


def _middle(clock: Clock, laps: Sequence[Lap]) -> Lap:
    return sorted(laps, key=clock.worth)[len(laps) // 2]


def _timing(clock: Clock, rounds: Sequence[Lap]) -> Timing:
    worth = [clock.worth(lap) for lap in rounds]
    spread = 0.0
    if len(worth) > 1:
        low, _, high = statistics.quantiles(worth, n=4, method="inclusive")
        spread = high - low
    return Timing(
        median_us=statistics.median(worth),
        spread_us=spread,
        device_us=statistics.median(lap.device_us for lap in rounds),
        host_us=statistics.median(lap.host_us for lap in rounds),
        repeats=len(rounds),
    )
