"""The ring: frames arrive once and in order, in threads and processes, and what goes wrong is said."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from layerzero.audio import Arena, Ring, aligned, extension
from layerzero.errors import ArgumentError, LayerZeroError, MissingDependencyError

try:
    extension.extension()
except MissingDependencyError as error:
    pytest.skip(f"{error}", allow_module_level=True)


@pytest.fixture
def name() -> Iterator[str]:
    name = f"test-{os.getpid()}-{threading.get_ident()}"
    yield name
    Ring.unlink(name)


@settings(max_examples=150, deadline=None)
@given(
    capacity=st.integers(1, 40),
    channels=st.integers(1, 3),
    sample=st.sampled_from(["float32", "float64", "int16", "int32"]),
    steps=st.lists(st.tuples(st.sampled_from(["write", "read", "array", "release"]), st.integers(0, 50)), max_size=40),
)
def test_it_is_a_queue(capacity: int, channels: int, sample: str, steps: list[tuple[str, int]]) -> None:
    ring = Ring(capacity, channels, sample)
    assert ring.capacity >= capacity and ring.capacity & (ring.capacity - 1) == 0
    out, inp = ring.writer(), ring.reader()
    queue: list[list[int]] = []
    number = 0
    for step, frames in steps:
        fresh = np.arange(number, number + frames * channels).reshape(frames, channels).astype(sample)
        if step == "write":
            done = out.write(fresh)
            assert done == min(frames, ring.capacity - len(queue))
        elif step == "array":
            view = out.array(frames)
            done = len(view)
            view[:] = fresh[:done]
            out.commit(done)
        else:
            if step == "read":
                block = np.zeros((frames, channels), sample)
                done = inp.read(block)
                assert done == min(frames, len(queue))
            else:
                block = inp.array(frames).copy()
                done = len(block)
                inp.release(done)
            assert block[:done].tolist() == queue[:done]
            del queue[:done]
            done = 0
        queue += fresh[:done].tolist()
        number += done * channels
        assert (inp.ready, out.free) == (len(queue), ring.capacity - len(queue))


def test_views_are_the_memory_itself() -> None:
    ring = Ring(8, channels=2)
    out, inp = ring.writer(), ring.reader()
    out.tensor(4)[:] = torch.arange(8.0).reshape(4, 2)
    out.commit(4)
    there = inp.tensor(3)
    assert there.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert there.data_ptr() == ring.array().ctypes.data == inp.array(1).ctypes.data
    assert ring.array().ctypes.data % 128 == 0
    del ring, out, inp
    gc.collect()
    assert there.sum() == 15, "the memory went before its views"


def test_a_million_samples_cross_two_threads_in_order() -> None:
    ring = Ring(4096, sample="int32")

    def write() -> None:
        with ring.writer() as out:
            sent = 0
            while sent < 1_000_000:
                block = np.arange(sent, min(sent + 1000, 1_000_000), dtype="int32")
                done = out.write(block)
                sent += done
                if not done:
                    time.sleep(0)  # the other thread's turn

    writer = threading.Thread(target=write)
    writer.start()
    read_in_order(ring, 1_000_000)
    writer.join()


def read_in_order(ring: Ring, samples: int) -> None:
    block = np.zeros(1500, "int32")
    wanted = np.arange(samples + len(block), dtype="int32")
    with ring.reader() as inp:
        got = 0
        while got < samples:
            done = inp.read(block)
            assert np.array_equal(block[:done], wanted[got : got + done])
            got += done
            if not done:
                time.sleep(0)


WRITES = """
import sys, numpy as np
from layerzero.audio import Ring
ring, samples = Ring.attach(sys.argv[1]), int(sys.argv[2])
with ring.writer() as out:
    sent = 0
    while sent < samples:
        sent += out.write(np.arange(sent, min(sent + 1000, samples), dtype="int32"))
"""


def test_a_million_samples_cross_two_processes_in_order(name: str, root: Path) -> None:
    ring = Ring(4096, sample="int32", name=name)
    with subprocess.Popen([sys.executable, "-c", WRITES, name, "1000000"], cwd=root) as process:
        read_in_order(ring, 1_000_000)
    assert process.returncode == 0


def test_a_side_belongs_to_one_until_it_leaves_or_dies(name: str, root: Path) -> None:
    ring = Ring(64, sample="int32", name=name)
    mine = ring.writer()
    with pytest.raises(LayerZeroError, match=rf"process {os.getpid()} writes this ring already, and one alone may"):
        Ring.attach(name).writer()
    done = subprocess.run(
        [sys.executable, "-c", WRITES, name, "1"], cwd=root, capture_output=True, text=True, check=False
    )
    assert f"process {os.getpid()} writes this ring already" in done.stderr
    mine.close()
    dies = WRITES + "out = ring.writer(); import os; os._exit(0)\n"
    subprocess.run([sys.executable, "-c", dies, name, "1"], cwd=root, check=True)
    with ring.writer() as out:  # the process that had it has ended
        out.write(np.array([7], "int32"))
    assert ring.reader().array(9).ravel().tolist() == [0, 7]


def test_nothing_is_allocated_after_the_start() -> None:
    ring = Ring(64)
    out, inp, block = ring.writer(), ring.reader(), np.ones((16, 1), "float32")
    counts = []
    for _ in range(3):
        for _ in range(1000):
            out.write(block)
            inp.read(block)
        gc.collect()
        counts.append(sys.getallocatedblocks())
    assert max(counts) - min(counts) < 500  # a block a turn would be 1000; other threads of the process have theirs


def test_what_does_not_fit_is_said(name: str) -> None:
    ring = Ring(8, channels=2, name=name)
    out, inp = ring.writer(), ring.reader()
    with pytest.raises(ValueError, match="9 frames, and there are 8"):
        out.commit(9)
    with pytest.raises(ValueError, match="1 frames, and there are 0"):
        inp.release(1)
    with pytest.raises((ValueError, BufferError)):
        out.write(np.ones((8, 4), "float32")[:, ::2])  # not contiguous
    with pytest.raises((ValueError, BufferError, TypeError)):
        inp.read(b"0123456789")
    for wrong in ({"frames": 0}, {"frames": 8, "channels": 0}, {"frames": 8, "sample": "int8"}):
        with pytest.raises(ArgumentError, match="wanted frames"):
            Ring(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="already: attach to it"):
        Ring(8, name=name)
    with pytest.raises(ArgumentError, match="a name is letters"):
        Ring(8, name="../etc")
    with pytest.raises(ArgumentError, match="there is no ring `nobody"):
        Ring.attach("nobody-made-this")


@pytest.mark.parametrize("damage", ["short", "magic", "capacity", "positions"])
def test_foreign_and_damaged_memory_is_refused(damage: str, name: str) -> None:
    native = extension.extension()
    ring = Ring(64, name=name)
    header = np.frombuffer(ring._memory, "uint64", native.HEADER // 8)
    header.flags.writeable = True
    if damage == "positions":
        out = ring.writer()
        header[16] = 1 << 60
        with pytest.raises(OSError, match="its positions contradict each other"):
            out.write(np.ones(1, "float32"))
        return
    if damage == "short":
        Ring.unlink(name)
        native.share(f"/layerzero-{name}", 10, False)
    else:
        header[0 if damage == "magic" else 1] = 1 << 40
    with pytest.raises(ArgumentError, match="is no ring"):
        Ring.attach(name)


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("alignment", [1, 64, 4096, 1 << 21])
def test_memory_begins_where_it_should(alignment: int) -> None:
    found = aligned((3, 5), "float64", alignment)
    assert found.ctypes.data % alignment == 0
    assert found.shape == (3, 5) and found.dtype == np.float64 and not found.any()
    torch.from_numpy(found)[1, 1] = 2.5
    assert found[1, 1] == 2.5


def test_an_arena_hands_out_what_it_has_and_no_more() -> None:
    arena = Arena(1000, alignment=128)
    one, two = arena.take(10), arena.take((2, 3), "int16")
    assert one.ctypes.data % 128 == two.ctypes.data % 128 == 0
    assert two.ctypes.data - one.ctypes.data == 128
    with pytest.raises(ArgumentError, match=r"4000 bytes are not left of 1000: 140 are in use"):
        arena.take(1000)
    arena.reset()
    assert arena.take(10).ctypes.data == one.ctypes.data
    for wrong in ((0, 64), (10, 3)):
        with pytest.raises(ArgumentError, match="a power of two"):
            Arena(*wrong)
    with pytest.raises(ArgumentError, match="plain type"):
        aligned(3, "object")


def test_pages_are_locked_or_the_limit_is_named() -> None:
    # Root may lock whatever it likes; the limit holds for everybody else.
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        "import os\nfrom layerzero.audio import Arena, Ring\n"
        "def locked(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmLck')).split()[1])\n"
        "arena = Arena(8192)\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "arena = Arena(8192, pinned=True)\nprint(locked())\n"
        "try: Ring(1 << 20, pinned=True)\nexcept Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held, said = done.stdout.splitlines()
    assert int(held) >= 8
    assert "cannot be locked in RAM" in said and "may lock 65536 bytes (`ulimit -l`)" in said


def test_without_the_extension_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, extension.NAME, None)
    with pytest.raises(MissingDependencyError, match=r"not built: install LayerZero again where a C\+\+17 compiler"):
        Ring(8)
