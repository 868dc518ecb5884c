"""Sizes -> memory that is aligned, touched and, if wanted, locked in RAM, and arrays in it without a copy."""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from layerzero.audio.extension import extension
from layerzero.errors import ArgumentError, LayerZeroError

if TYPE_CHECKING:
    import numpy as np

LINE = 64  # bytes of a cache line


def aligned(
    shape: int | Sequence[int], dtype: str = "float32", alignment: int = LINE, pinned: bool = False
) -> np.ndarray[Any, Any]:
    """Zeros that begin at a multiple of `alignment` bytes; `torch.from_numpy` shares them.

    Args:
        dtype: A name that numpy knows.
        alignment: A power of two.
        pinned: Lock the pages in RAM, so that no access waits for the disk.

    Raises:
        ArgumentError: A size or the alignment is none.
        LayerZeroError: The system does not give the memory, or does not lock that much of it.
        MissingDependencyError: The extension is not built.
    """
    return Arena(_bytes(shape, dtype), alignment, pinned).take(shape, dtype)


class Arena:
    """Memory that is allocated once and handed out piece by piece; `reset` takes all of it back.

    Args:
        size: Bytes.
        alignment: Of the beginning, and of each piece.
        pinned: See `aligned`, which raises the same.
    """

    def __init__(self, size: int, alignment: int = LINE, pinned: bool = False) -> None:
        if size < 1 or alignment < 1 or alignment & (alignment - 1):
            raise ArgumentError(f"wanted bytes and an alignment that is a power of two, got {size} and {alignment}")
        try:
            self._memory = extension().allocate(size, alignment, pinned)
        except OSError as error:
            raise refused(error, size, pinned) from error
        self.size, self.alignment, self.used = size, alignment, 0

    def take(self, shape: int | Sequence[int], dtype: str = "float32") -> np.ndarray[Any, Any]:
        """The next piece, which is as it was left; it lives as long as its array does.

        Raises:
            ArgumentError: So much is not left.
        """
        import numpy as np

        wanted, start = _bytes(shape, dtype), -(-self.used // self.alignment) * self.alignment
        if start + wanted > self.size:
            raise ArgumentError(f"{wanted} bytes are not left of {self.size}: {self.used} are in use")
        self.used = start + wanted
        kind = np.dtype(dtype)
        return np.frombuffer(self._memory, kind, wanted // kind.itemsize, start).reshape(shape)

    def reset(self) -> None:
        """Begin anew: pieces handed out before stay readable, and are handed out again."""
        self.used = 0


def refused(error: OSError, size: int, pinned: bool) -> LayerZeroError:
    """The system's answer, with what can be done about it."""
    if not pinned:
        return LayerZeroError(f"the system does not give {size} bytes: {error.strerror}")
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    allowed = "all" if limit == resource.RLIM_INFINITY else f"{limit} bytes"
    return LayerZeroError(
        f"{size} bytes cannot be locked in RAM: {error.strerror}; this process may lock {allowed} (`ulimit -l`)"
    )


def _bytes(shape: int | Sequence[int], dtype: str) -> int:
    import numpy as np

    try:
        size = math.prod((shape,) if isinstance(shape, int) else shape) * np.dtype(dtype).itemsize
    except TypeError as error:
        raise ArgumentError(f"no such type: {dtype!r} ({error})") from error
    if size < 1 or np.dtype(dtype).hasobject:
        raise ArgumentError(f"wanted at least one number of a plain type, got {shape} of {dtype}")
    return size
