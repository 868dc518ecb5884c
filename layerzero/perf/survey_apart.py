"""The points of grids -> measured on the machines of a cluster, into one database.

Each machine measures one point at a time. A worker that ends takes nothing with it but the point that it was at, which
is measured anew; a kernel in which two workers end is one that crashes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from layerzero.errors import LayerZeroError
from layerzero.perf.database import Database, MachineInfo
from layerzero.perf.grids import Grid
from layerzero.perf.measure import DeviceLostError, Failed, Timing, Watch
from layerzero.perf.survey import Decider, Point, Progress, Survey, described, measured, points, unmeasured
from layerzero.runtime.spread import Board, Cluster

_DEATHS = 2


@dataclass(frozen=True, slots=True)
class _Work:
    """What every worker needs: `info` is the machine that it has to be."""

    decider: Decider
    info: MachineInfo
    device: str
    how: Survey
    board: Board


def measure_apart(
    cluster: Cluster,
    decider: Decider,
    info: MachineInfo,
    database: Database,
    grids: Sequence[Grid],
    device: str,
    how: Survey,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """As `measure_grids`, on machines that are all as `info` says.

    Raises:
        LayerZeroError: A machine is another one.
        WorkersLostError: Workers end at a point outside of every kernel.
        ArgumentError: The calls of a grid cannot be made.
    """
    everything = list(points(grids))
    started = monotonic()
    passed = 0

    def todo() -> Iterator[Point]:
        nonlocal passed
        for grid, place in everything:
            if passed and how.seconds is not None and monotonic() - started > how.seconds:
                return
            passed += 1
            tell(Progress(passed - 1, len(everything), described(grid, place)))
            point = unmeasured(decider, database, grid, place, how)
            if point is not None:
                yield point

    deaths: Counter[tuple[str, str]] = Counter()

    def lost(point: Point) -> Point:
        kernel = board.get(point.key.text)
        if kernel is None:
            return point
        deaths[point.key.text, kernel] += 1
        if deaths[point.key.text, kernel] < _DEATHS:
            return point
        database.put(point.key, kernel, Failed("the process that called it ended"))
        return replace(point, kernels=tuple(name for name in point.kernels if name != kernel))

    board = cluster.board()
    needs = {"num_cpus": 1.0, "num_gpus": 1.0} if device.startswith("cuda") else {"num_cpus": cluster.one_a_machine()}
    work = _Work(decider, info, device, how, board)
    for point, found in cluster.spread(_measure, work, todo(), needs, lost):
        for name, time in found.items():
            database.put(point.key, name, time)
    tell(Progress(passed, len(everything), ""))
    return Progress(passed, len(everything), "")


def _measure(work: _Work, point: Point) -> tuple[Point, dict[str, Timing | Failed]]:
    import torch

    from layerzero.backends.machine import ThisMachine
    from layerzero.operations.device import present_devices
    from layerzero.perf.here import device_named, machine_info

    device = device_named(work.device)
    if device.type == "cpu":
        torch.set_num_threads(int(work.info.versions["threads"]))
    here = machine_info(device, work.decider.environment)
    if here.digest != work.info.digest:
        raise LayerZeroError(f"{os.uname().nodename} is another machine: {_difference(here, work.info)}")
    try:
        watch = _Told(work.board, point.key.text)
        return point, measured(work.decider, ThisMachine(present_devices), point, device, work.how, watch)
    except DeviceLostError:
        os._exit(1)  # nothing that this process measured from here on would be worth anything


def _difference(here: MachineInfo, wanted: MachineInfo) -> str:
    mine: dict[str, Any] = {**here.device, **here.versions}
    theirs: dict[str, Any] = {**wanted.device, **wanted.versions}
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    return ", ".join(f"{name} {mine.get(name)} instead of {theirs.get(name)}" for name in names)


class _Told(Watch):
    """Says on the board which kernel is being tried, so that a crash is its own."""

    def __init__(self, board: Board, point: str) -> None:
        self._board, self._point = board, point

    def starting(self, name: str) -> None:
        self._board.put(self._point, name)

    def started(self, name: str) -> None:
        self._board.put(self._point, None)

    def lost(self, name: str, failed: Failed) -> None:
        self._board.put(self._point, name)  # the worker ends, and it was this kernel
