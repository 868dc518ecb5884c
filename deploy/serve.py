"""The program of the example deployment: a policy that is watched, a call ten times a second, metrics for scrapes.

    python deploy/serve.py POLICY [--port 9464] [--host 0.0.0.0] [--for SECONDS]

Put your model in the place of the call; the rest is what a serving process needs.
"""

from __future__ import annotations

import argparse
import time

import torch

import layerzero as lz
from layerzero.telemetry import get_metrics_exporter


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("policy", help="a file or a folder; a new version is put in force as it comes")
    parser.add_argument("--host", default="127.0.0.1", help="where scrapes are answered (default: this machine alone)")
    parser.add_argument("--port", type=int, default=9464, help="0 takes a free one (default: 9464)")
    parser.add_argument("--for", dest="limit", type=float, default=float("inf"), help="seconds, then it ends")
    args = parser.parse_args()
    served = get_metrics_exporter("prometheus").serve(args.port, args.host)
    lz.configure(args.policy, watch=True)
    print(f"metrics on {served.host}:{served.port}", flush=True)
    ends = time.monotonic() + args.limit
    digest = None
    while time.monotonic() < ends:
        step()
        status = lz.status()
        if status.digest != digest:
            digest = status.digest
            print(f"in force: {status.policy} version {status.version} ({status.digest[:12]})", flush=True)
        time.sleep(0.1)


def step() -> torch.Tensor:
    """What stands for a model: a decoding step against a short cache."""
    q = torch.ones(1, 1, 8, 64)
    k = v = torch.ones(1, 128, 2, 64)
    return lz.attention(q, k, v, is_causal=True)


if __name__ == "__main__":
    main()
