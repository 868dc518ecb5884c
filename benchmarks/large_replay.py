"""How long does a replay of a large log take: line by line, alike records at once (Polars), in parts on Ray workers?

    python benchmarks/large_replay.py --records 200000      # a table; the reports have to be equal
    python benchmarks/large_replay.py --ray                  # with a Ray cluster of this machine's cores too

The log is of one serving process: thirty shapes of decoding steps, each call with a request of its own, one call in a
hundred with a cache length of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from layerzero.check import load, require
from layerzero.runtime.changes import Changes
from layerzero.runtime.comparison import Question, compare, compare_on
from layerzero.runtime.log_files import Parquet
from layerzero.runtime.log_groups import read_groups
from layerzero.runtime.log_reader import read_log
from layerzero.runtime.record import Record
from layerzero.runtime.spread import Cluster
from layerzero.semantics.environment import Environment

POLICY = 'policy "next"\ndeny flash_attn for attention when batch > 8 as small_only\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--ray", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "next.lzp").write_text(POLICY, encoding="utf-8")
        program = require(load(folder / "next.lzp"))
        log = folder / "d.parquet"
        write(log, args.records)
        question = Question(program, Environment(assume_packages=True))
        ways: dict[str, Callable[[], Changes]] = {
            "line by line": lambda: compare(question, ((entry, 1) for entry in read_log(log))),
            "alike records at once (--polars)": lambda: compare(question, read_groups(log)),
        }
        if args.ray:
            with Cluster("local") as cluster:
                ways[f"on {cluster.workers} Ray workers (--ray)"] = lambda: compare_on(cluster, question, [log])
                run(ways, args.records)
        else:
            run(ways, args.records)


def run(ways: dict[str, Callable[[], Changes]], records: int) -> None:
    reports = set()
    print(f"{records} records")
    for name, way in ways.items():
        started = time.perf_counter()
        reports.add(json.dumps(way().report(), sort_keys=True))
        took = time.perf_counter() - started
        print(f"{name:<36} {took:8.2f} s  {records / took:10,.0f} records/s")
    assert len(reports) == 1, "the reports differ"


def write(path: Path, records: int) -> None:
    rng = random.Random(7)
    log = Parquet(path)
    for first in range(0, records, 10_000):
        log.write([record(rng, number) for number in range(first, min(records, first + 10_000))])
    log.close()


def record(rng: random.Random, number: int) -> Record:
    length = rng.randint(1, 32_768) if rng.random() < 0.01 else 2 ** rng.randint(7, 14)
    values = {
        "device": "cuda",
        "sm": 90,
        "dtype": "bf16",
        "batch": rng.choice([1, 8, 32]),
        "q_len": 1,
        "kv_len": length,
    }
    values |= {"q_heads": 32, "kv_heads": 8, "head_dim": 128, "causal": True}
    minute = number * 60 // 1_000_000
    return {
        "schema": "lz.record/1", "time": f"2026-06-01T12:{minute % 60:02}:00.000000Z", "operation": "attention.decode",
        "values": values, "arms": {}, "kernel": "flash_attn.v3", "score": 90.0, "degraded": False, "error": None,
        "raised": None, "recovered_from": [], "locked_by": [], "ordered_by": [], "epoch": 1,
        "policy": {"name": "p", "version": "1", "digest": "d"}, "environment": "e", "snapshot": "s",
        "seconds": rng.random(), "request_id": f"r-{number}", "count": 1, "id": None,
    }  # fmt: skip


if __name__ == "__main__":
    main()
