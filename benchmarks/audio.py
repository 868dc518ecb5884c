"""Does a callback meet its deadlines under load, and does every sample arrive?

    python benchmarks/audio.py                       # 20 s of a 48 kHz stream, and 10^8 samples between two processes
    python benchmarks/audio.py --load 4 --seconds 60

A callback process is due every 512 frames (10.7 ms), as a sound card's is: it takes a block out of a ring that another
process fills. It is late where it ends after the next one was due, and an underrun is a block that was not there.
`--load` processes compute all the while, and the callback has an ordinary priority or a real-time one (SCHED_FIFO), as
audio systems give it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time

import numpy as np

from layerzero.audio import Reader, Ring, aligned

RATE, FRAMES, CHANNELS = 48_000, 512, 2
PERIOD = FRAMES / RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--load", type=int, default=2, help="processes that compute meanwhile (default: 2)")
    parser.add_argument("--ahead", type=int, default=8, help="periods that the ring holds (default: 8)")
    parser.add_argument("--samples", type=int, default=100_000_000)
    args = parser.parse_args()
    order(args.samples)
    for load, realtime in ((0, False), (args.load, False), (args.load, True)):
        stream(args.seconds, load, realtime, args.ahead)


def order(samples: int) -> None:
    name = f"bench-{os.getpid()}"
    ring = Ring(65_536, sample="int32", name=name)
    writer = multiprocessing.Process(target=count, args=(name, samples))
    started = time.perf_counter()
    writer.start()
    block, got = aligned(16_384, "int32"), 0
    wanted = np.arange(len(block), dtype="int32")
    with ring.reader() as inp:
        while got < samples:
            done = inp.read(block)
            assert np.array_equal(block[:done], wanted[:done] + got), f"out of order after {got} samples"
            got += done
    writer.join()
    Ring.unlink(name)
    speed = samples / (time.perf_counter() - started) / 1e6
    print(f"{samples} samples in order between two processes, {speed:.0f} million a second")


def count(name: str, samples: int) -> None:
    with Ring.attach(name).writer() as out:
        block, sent = np.arange(16_384, dtype="int32"), 0
        while sent < samples:
            done = out.write(block[: samples - sent])
            sent += done
            block += done


def stream(seconds: float, load: int, realtime: bool, ahead: int) -> None:
    name = f"bench-{os.getpid()}"
    ring = Ring(ahead * FRAMES, CHANNELS, name=name)
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(load)]
    filler = multiprocessing.Process(target=fill, args=(name,), daemon=True)
    for process in (*burners, filler):
        process.start()
    with ring.reader() as inp:
        while inp.ready < ring.capacity // 2:
            time.sleep(0.001)
        if realtime:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
            except PermissionError:
                print("no real-time priority for this user: `ulimit -r`")
        late, underruns, took = callbacks(inp, int(seconds / PERIOD))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    for process in (*burners, filler):
        process.kill()
        process.join()
    Ring.unlink(name)
    p50, p99, most = (1e6 * np.quantile(took, (0.5, 0.99, 1.0))).tolist()
    print(
        f"load {load}, {'real-time' if realtime else 'ordinary'} priority, ring of {ahead} periods: "
        f"{len(took)} callbacks, {late} late, {underruns} underruns; "
        f"from due to done p50 {p50:.0f}, p99 {p99:.0f}, max {most:.0f} us of {1e6 * PERIOD:.0f}"
    )


def callbacks(inp: Reader, number: int) -> tuple[int, int, np.ndarray]:
    block, took = aligned((FRAMES, CHANNELS)), aligned(number, "float64")
    late = underruns = 0
    due = time.perf_counter()
    for place in range(number):
        due += PERIOD
        time.sleep(max(0.0, due - time.perf_counter()))
        underruns += inp.read(block) < FRAMES
        took[place] = time.perf_counter() - due
        late += took[place] > PERIOD
    return late, underruns, took


def fill(name: str) -> None:
    """A tone, as far ahead as the ring holds."""
    phase = np.arange(FRAMES, dtype="float32")
    block = np.zeros((FRAMES, CHANNELS), "float32")
    with Ring.attach(name).writer() as out:
        while True:
            if out.free < FRAMES:
                time.sleep(PERIOD / 4)
                continue
            np.sin(phase * np.float32(2 * np.pi * 440 / RATE), out=block[:, 0])
            block[:, 1] = block[:, 0]
            out.write(block)


def burn() -> None:
    while True:
        np.linalg.norm(np.random.default_rng(0).random((256, 256)))


if __name__ == "__main__":
    main()
