"""Four ranks over gloo, each a process with a loop: `python loop.py FOLDER PORT`, which writes FOLDER/RANK.json.

The parent imports torch and looks at this machine once, and forks. The ranks go through four chapters, with a barrier
before each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import layerzero as lz
from layerzero.distributed import Ranks

SIZE, STOPPED, KILLED = 4, 2, 3
X = torch.ones(2)


def swaps(rank: int, folder: Path) -> Any:
    """The leader swaps twice, fails once, and follows its file, while all loops run, each at its own pace."""
    ranks = lz.join_ranks(tp=2, dp=2, timeout=30.0)
    watched = folder / "watched.lzp"
    ranks.configure(watched, watch=True)
    planned = ranks.warmup(lambda: lz.warmup("silu", shapes=[(4, 64)], device="cpu"))
    said: list[Any] = []

    def lead() -> None:
        for name in ("torch", "reference"):
            said.append(ranks.swap(lz.Policy.from_text(f'policy "{name}"\ndeny {name}.silu for silu')))
        said.append(refused(lambda: ranks.swap(folder / "bad.lzp"), lz.PolicyError))
        (folder / "next.lzp").write_text('policy "watched" version 2\ndeny torch.silu for silu\n')
        (folder / "next.lzp").replace(watched)

    leading = threading.Thread(target=lead)
    if rank == 0:
        leading.start()
    log: list[Any] = []
    until = time.monotonic() + 60
    while lz.status().version != "2" and time.monotonic() < until:
        number, status = ranks.step(), lz.status()
        log.append([number, status.epoch, status.digest, lz.which("silu", X)])
        time.sleep(random.uniform(0.005, 0.01 + rank / 500))
    fields = lz.dry_run("silu", x=X).values
    if rank == 0:
        leading.join()
    dist.barrier()
    ranks.close()
    return {"log": log, "said": said, "fields": [fields[name] for name in ("tp", "dp", "rank")], "warm": planned.ok}


def library(rank: int, folder: Path) -> Any:
    """Rank 2 has another version of a library."""
    version = "0.8.9" if rank == 2 else "0.8.5"
    info = folder / f"packages-{rank}" / f"inference_lib-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: inference-lib\nVersion: {version}\n")
    sys.path.insert(0, str(info.parent))
    before = lz.status().digest
    ranks = lz.join_ranks(timeout=30.0)
    said = refused(lambda: ranks.configure(folder / "good.lzp"))
    stayed = lz.status().digest == before
    sys.path.remove(str(info.parent))
    ranks.configure(folder / "good.lzp")
    ranks.close()
    return {"said": said, "stayed": stayed, "then": lz.status().policy}


def stopped(rank: int, folder: Path) -> Any:
    """A rank is stopped while the leader tries a swap, goes on, and takes part in the next."""
    ranks = lz.join_ranks(timeout=1.5)
    ranks.configure(folder / "good.lzp")
    note = folder / "stopped.pid"
    if rank == STOPPED:
        (folder / "stopped.new").write_text(str(os.getpid()))
        (folder / "stopped.new").replace(note)
        os.kill(os.getpid(), signal.SIGSTOP)
    said: list[str] = []

    def lead() -> None:
        while not note.is_file():
            time.sleep(0.01)
        pid = int(note.read_text())
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)
        said.append(refused(lambda: ranks.swap(lz.Policy.from_text('policy "never"'))))
        os.kill(pid, signal.SIGCONT)
        said.append(refused(lambda: ranks.swap(lz.Policy.from_text('policy "after"'))))

    leading = threading.Thread(target=lead)
    if rank == 0:
        leading.start()
    until = time.monotonic() + 60
    while lz.status().policy != "after" and time.monotonic() < until:
        steps(ranks, 1)
    if rank == 0:
        leading.join()
    dist.barrier()
    ranks.close()
    return {"said": said, "policy": lz.status().policy}


def killed(rank: int, folder: Path) -> Any:
    """A rank is killed in the middle of the loop; then the leader tries a swap."""
    ranks = lz.join_ranks(timeout=600.0)  # nobody waits for it: the process is seen to end
    ranks.configure(folder / "good.lzp")
    steps(ranks, 20)
    if rank == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    started = time.monotonic()
    said = refused(lambda: ranks.swap(lz.Policy.from_text('policy "never"'))) if rank == 0 else ""
    while ranks.status().failure is None and time.monotonic() - started < 30:
        steps(ranks, 1)
    status = ranks.status()
    steps(ranks, 20)
    return {"said": said, "failure": status.failure, "policy": lz.status().policy}


def steps(ranks: Ranks, number: int) -> None:
    for _ in range(number):
        ranks.step()
        time.sleep(0.005)


def refused(act: Callable[[], object], kind: type[Exception] = lz.RanksError) -> str:
    try:
        act()
    except kind as error:
        return str(error)
    return ""


def serve(rank: int, folder: Path, port: int) -> None:
    store = dist.TCPStore("127.0.0.1", port, SIZE, rank == 0, timedelta(seconds=60))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=SIZE, timeout=timedelta(seconds=60))
    said = {}
    for chapter in (swaps, library, stopped, killed):
        dist.barrier()
        said[chapter.__name__] = chapter(rank, folder)
    (folder / f"{rank}.new").write_text(json.dumps(said))
    (folder / f"{rank}.new").replace(folder / f"{rank}.json")
    others = [folder / f"{other}.json" for other in range(SIZE) if other != KILLED]
    while not all(other.is_file() for other in others):  # rank 0 holds the store
        time.sleep(0.01)


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    lz.status()  # what is installed is found out once, before there are four of us
    children = []
    for rank in range(SIZE):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                serve(rank, folder, port)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)  # a group with a dead rank is not torn down in order
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))


if __name__ == "__main__":
    main()
