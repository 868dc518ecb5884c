"""Grids -> what every feasible kernel takes at each point, and what the policy picks there.

Measuring fills the database and can go on where it was left; surveying only reads it and asks the policy, so that one
measurement serves any number of policies, on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.check.program import Program
from layerzero.errors import ArgumentError, ContextError
from layerzero.perf.database import Database, Key
from layerzero.perf.grids import Grid, Place
from layerzero.perf.measure import Failed, Timing, Watch, clock_for, measure
from layerzero.semantics.context import complete, read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof

if TYPE_CHECKING:
    import torch

    from layerzero.backends.machine import ThisMachine

BASELINE = "plain torch"


@dataclass(frozen=True, slots=True)
class Decider:
    """A policy in an environment: what the survey asks."""

    program: Program
    environment: Environment

    def decide(self, grid: Grid, place: Place) -> Proof:
        """The decision at a point of a grid.

        Raises:
            ContextError: The grid's fields do not fit the operation.
        """
        scope, values = read_context(self.program, {**grid.fields(place), "operation": grid.operation})
        return decide(self.program, self.environment, scope, values)


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of a grid: the times of the kernels, the scores that the policy gives them, and its pick.

    Attributes:
        times: By kernel, those that were measured; the plain torch expression among them under a name of its own.
        scores: Of the kernels that may be picked.
        ruled_by: The lock or order that decided, if one did: no score then counts.
    """

    grid: Grid
    place: Place
    times: Mapping[str, Timing | Failed]
    scores: Mapping[str, float]
    picked: str | None
    ruled_by: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, Value]:
        return self.grid.fields(self.place)

    def time(self, kernel: str | None) -> Timing | None:
        found = None if kernel is None else self.times.get(kernel)
        return found if isinstance(found, Timing) else None

    def ranked(self) -> list[tuple[str, Timing]]:
        """The kernels that ran, the fastest first; without the baseline."""
        ran = [(name, time) for name, time in self.times.items() if isinstance(time, Timing) and name != BASELINE]
        return sorted(ran, key=lambda one: (one[1].median_us, one[0]))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a measurement is: `done` of `points`, and the one that comes next."""

    done: int
    points: int
    current: str


def points(grids: Sequence[Grid]) -> Iterator[tuple[Grid, Place]]:
    for grid in grids:
        for place in grid.places():
            yield grid, place


def survey(decider: Decider, database: Database, grids: Sequence[Grid]) -> list[Sample]:
    """What the database knows and the policy says of every point; points without any measurement are left out."""
    found = []
    for grid, place in points(grids):
        times = database.find(_key(grid, place))
        if not times:
            continue
        proof = decider.decide(grid, place)
        scores = {name: v.score for name, v in proof.verdicts.items() if v.score is not None and v.stage != "fallback"}
        found.append(Sample(grid, place, times, scores, proof.kernel, (*proof.locked_by, *proof.ordered_by)))
    return found


@dataclass(frozen=True, slots=True)
class Survey:
    """How a measurement is made.

    Attributes:
        skip: Globs over the kernels' ids that are not measured.
        seconds: Stop after the point in which they are over, at least one; None goes on to the end.
        again: Measure anew what failed before.
    """

    repeats: int = 7
    laps: int = 3
    skip: tuple[str, ...] = ()
    seconds: float | None = None
    again: bool = False


def measure_grids(
    decider: Decider,
    machine: ThisMachine,
    database: Database,
    grids: Sequence[Grid],
    device: torch.device,
    how: Survey,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Measure what the database does not know yet: every kernel that may serve each point, in turn.

    Raises:
        DeviceLostError: A kernel took the device with it. What was measured is kept, and the kernel is known as failed:
            another process can go on.
        ArgumentError: The calls of a grid cannot be made.
    """
    todo = list(points(grids))
    started = monotonic()
    for number, (grid, place) in enumerate(todo):
        if number and how.seconds is not None and monotonic() - started > how.seconds:
            return Progress(number, len(todo), "")
        tell(Progress(number, len(todo), described(grid, place)))
        point = unmeasured(decider, database, grid, place, how)
        if point is not None:
            for name, time in measured(decider, machine, point, device, how, Noted(database, point.key)).items():
                database.put(point.key, name, time)
    tell(Progress(len(todo), len(todo), ""))
    return Progress(len(todo), len(todo), "")


def described(grid: Grid, place: Place) -> str:
    """`paged_decode: batch = 8, kv_len = 4096, in a CUDA graph`"""
    values = {axis.name: axis.values[at] for axis, at in zip(grid.axes, place, strict=True)}
    graph = values.pop("graph_capture", False) is True
    varied = [f"{name} = {str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()]
    varied += ["in a CUDA graph"] if graph else []
    return f"{grid.name}: {', '.join(varied)}" if varied else grid.name


def feasible(proof: Proof) -> list[str]:
    """The kernels that could serve the call, whatever the policy wants."""
    return [name for name, verdict in sorted(proof.verdicts.items()) if verdict.stage != "infeasible"]


def _key(grid: Grid, place: Place) -> Key:
    return Key(grid.operation, grid.fields(place))


@dataclass(frozen=True, slots=True)
class Point:
    """A point that is to be measured, and the kernels that are called there."""

    grid: Grid
    place: Place
    kernels: tuple[str, ...]

    def __str__(self) -> str:
        return described(self.grid, self.place)

    @property
    def key(self) -> Key:
        return _key(self.grid, self.place)


def unmeasured(decider: Decider, database: Database, grid: Grid, place: Place, how: Survey) -> Point | None:
    """What is to be measured at a point of a grid; None where the database has it all."""
    wanted = [
        name
        for name in feasible(decider.decide(grid, place))
        if decider.program.kernels[name].adapter is not None and not any(fnmatchcase(name, glob) for glob in how.skip)
    ]
    known = database.find(_key(grid, place))
    known = {name: time for name, time in known.items() if not (how.again and isinstance(time, Failed))}
    if all(name in known for name in wanted):
        return None
    # The whole point is measured anew: times that were taken apart cannot be compared.
    return Point(grid, place, tuple(name for name in wanted if not isinstance(known.get(name), Failed)))


def measured(
    decider: Decider, machine: ThisMachine, point: Point, device: torch.device, how: Survey, watch: Watch
) -> dict[str, Timing | Failed]:
    """What the kernels of a point take here.

    Raises:
        DeviceLostError: A kernel took the device with it.
        ArgumentError: The call cannot be made.
    """
    import torch

    from layerzero.perf.arguments import make_call
    from layerzero.perf.plain_torch import plain

    fields = {**point.grid.fields(point.place), "operation": point.grid.operation}
    scope, values = read_context(decider.program, fields)
    call = make_call(decider.program, scope, values, device)
    calls: dict[str, Callable[[], Any]] = {}
    for name in point.kernels:
        adapter = machine.adapter(name, decider.program.kernels[name].adapter)
        calls[name] = partial(adapter, *call.args, **call.kwargs)
    usual = plain(call)
    if usual is not None:
        calls[BASELINE] = usual
    graph = values.get("graph_capture") is True
    with torch.inference_mode():
        return measure(calls, clock_for(device, graph), how.repeats, how.laps, watch)


class Noted(Watch):
    """Keeps in the database which kernel is being tried, so that its crash is known afterwards."""

    def __init__(self, database: Database, key: Key) -> None:
        self._database, self._key = database, key

    def starting(self, name: str) -> None:
        self._database.start(self._key, name)

    def started(self, name: str) -> None:
        self._database.forget(self._key, name)

    def lost(self, name: str, failed: Failed) -> None:
        self._database.put(self._key, name, failed)


def check_grids(decider: Decider, grids: Sequence[Grid]) -> None:
    """Find out before anything is measured that the grids fit.

    Raises:
        ArgumentError: Two grids of one name, or a grid without points.
        ContextError: Fields that do not fit the operation.
    """
    names = [grid.name for grid in grids]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ArgumentError(f"two grids are called `{twice}`")
    for grid in grids:
        place = next(iter(grid.places()), None)
        if place is None:
            raise ArgumentError(f"the grid `{grid.name}` has no points")
        try:
            scope, values = read_context(decider.program, {**grid.fields(place), "operation": grid.operation})
            complete(decider.program, scope, values)
        except ContextError as error:
            raise ContextError(f"grid `{grid.name}`: {error}") from error
