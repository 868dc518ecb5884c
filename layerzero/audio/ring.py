"""A ring of audio frames between one writer and one reader, in threads or processes: nobody waits, nothing is copied
that need not be.

A frame is one sample of each channel. Writer and reader take as many frames as there are at once and say how many those
were; what to do about the rest (drop, repeat, silence) is the caller's to decide.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from layerzero.audio.extension import extension
from layerzero.audio.memory import refused
from layerzero.errors import ArgumentError, LayerZeroError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SAMPLES = ("float32", "float64", "int16", "int32")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class Ring:
    """Frames of `channels` samples, in memory of this process or, with a name, of the machine.

    Args:
        frames: How many it holds at most; rounded up to a power of two.
        sample: One of float32, float64, int16, int32.
        name: Other processes of this user `Ring.attach` to it until it is unlinked.
        pinned: Lock its pages in RAM.

    Raises:
        ArgumentError: An argument is none of these, or the name is taken.
        LayerZeroError: The system does not give the memory, or does not lock that much.
        MissingDependencyError: The extension is not built.
    """

    def __init__(
        self, frames: int, channels: int = 1, sample: str = "float32", name: str | None = None, pinned: bool = False
    ) -> None:
        if not 1 <= frames <= 2**40 or not 1 <= channels <= 1024 or sample not in SAMPLES:
            raise ArgumentError(
                f"wanted frames, 1..1024 channels and one of {', '.join(SAMPLES)}; got {frames}, {channels}, {sample!r}"
            )
        native = extension()
        size = int(re.sub(r"\D", "", sample)) // 8
        capacity = 1 << (frames - 1).bit_length()
        whole = native.HEADER + capacity * channels * size
        try:
            shared = None if name is None else native.share(_path(name), whole, pinned)
        except FileExistsError as error:
            raise ArgumentError(f"there is a ring `{name}` already: attach to it, or `Ring.unlink` it") from error
        except OSError as error:
            self.unlink(name or "")  # which was made before its pages were refused
            raise refused(error, whole, pinned) from error
        try:
            self._memory = shared or native.allocate(whole, 4096, pinned)
        except OSError as error:
            raise refused(error, whole, pinned) from error
        self._ring = native.make(self._memory, capacity, channels, sample, size)
        self.name, self.capacity, self.channels, self.sample = name, capacity, channels, sample

    @classmethod
    def attach(cls, name: str, pinned: bool = False) -> Self:
        """The ring that another process made under this name.

        Raises:
            ArgumentError: There is none, or what has the name is no ring.
        """
        native = extension()
        try:
            memory = native.share(_path(name), 0, pinned)
        except FileNotFoundError as error:
            raise ArgumentError(f"there is no ring `{name}`") from error
        except OSError as error:
            raise LayerZeroError(f"`{name}` cannot be opened: {error.strerror}") from error
        found = native.join(memory)
        if found is None or found[3] not in SAMPLES:
            raise ArgumentError(f"`{name}` is no ring, or one that is not made yet")
        ring = cls.__new__(cls)
        ring._memory, ring.name = memory, name
        ring._ring, ring.capacity, ring.channels, ring.sample = found
        return ring

    @staticmethod
    def unlink(name: str) -> None:
        """Take the name away: who has the ring keeps it, nobody else finds it. Nothing where there is none."""
        extension().unlink(_path(name))

    def writer(self) -> Writer:
        """The side that writes.

        Raises:
            LayerZeroError: Somebody has it who is alive.
        """
        return Writer(self)

    def reader(self) -> Reader:
        """The side that reads. Raises as `writer`."""
        return Reader(self)

    def array(self) -> np.ndarray[Any, Any]:
        """All of its memory, (capacity, channels), without a copy."""
        import numpy as np

        whole = np.frombuffer(self._memory, self.sample, self.capacity * self.channels, extension().HEADER)
        return whole.reshape(self.capacity, self.channels)


class _Side(ABC):
    _SIDE: int
    _DOES: str

    def __init__(self, ring: Ring) -> None:
        self._ring, self._frames = ring._ring, ring.array()
        owner = self._ring.claim(self._SIDE)
        if owner:
            raise LayerZeroError(f"process {owner} {self._DOES} this ring already, and one alone may")

    def close(self) -> None:
        """Let another one take this side."""
        self._ring.leave(self._SIDE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def array(self, frames: int) -> np.ndarray[Any, Any]:
        """Up to so many frames of this side's, where they lie."""

    def tensor(self, frames: int) -> Tensor:
        """The same as `array`, as a tensor."""
        import torch

        return torch.from_numpy(self.array(frames))

    def _at(self, place: int, there: int, frames: int) -> np.ndarray[Any, Any]:
        return self._frames[place : min(place + min(frames, there), len(self._frames))]


class Writer(_Side):
    """The one that writes: a callback of a microphone, a model that speaks."""

    _SIDE, _DOES = 0, "writes"

    def write(self, block: Any) -> int:
        """Copy in as many frames of a contiguous block as fit, and say how many: no lock, no allocation, no wait."""
        done: int = self._ring.write(block)
        return done

    @property
    def free(self) -> int:
        """Frames that can be written now; by the time it is read there may be more."""
        found: int = self._ring.free()
        return found

    def array(self, frames: int) -> np.ndarray[Any, Any]:
        """Up to so many free frames that lie together, to write in place; `commit` hands them over."""
        return self._at(self._ring.write_place(), self.free, frames)

    def commit(self, frames: int) -> None:
        """The next so many frames are written.

        Raises:
            ValueError: So many are not free.
        """
        self._ring.commit(frames)


class Reader(_Side):
    """The one that reads: a model that listens, a callback of a loudspeaker."""

    _SIDE, _DOES = 1, "reads"

    def read(self, block: Any) -> int:
        """Copy out as many frames as are there into a contiguous block, and say how many: no lock, no allocation."""
        done: int = self._ring.read(block)
        return done

    @property
    def ready(self) -> int:
        """Frames that can be read now; by the time it is read there may be more."""
        found: int = self._ring.ready()
        return found

    def array(self, frames: int) -> np.ndarray[Any, Any]:
        """Up to so many frames that lie together, where they lie; they are the writer's again after `release`."""
        return self._at(self._ring.read_place(), self.ready, frames)

    def release(self, frames: int) -> None:
        """The next so many frames have been read.

        Raises:
            ValueError: So many are not there.
        """
        self._ring.release(frames)


def _path(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ArgumentError(f"a name is letters, digits, `_`, `.` and `-`, at most 200; got {name!r}")
    return f"/layerzero-{name}"
