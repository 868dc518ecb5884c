"""Store a policy with all that it stands on (texts, catalogs, environment), by digest.

`lz policy export PATHS --to FOLDER` prints the digest of the snapshot; records of a decision log whose `snapshot` it is
can be explained from the folder alone, and `lz replay --snapshots FOLDER` reads it. A running process exports its own
snapshots beside its log.

  lz policy export prod.lzp --to exported"""

from __future__ import annotations

import argparse

from layerzero.cli.output import counted, print_json
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    environment,
    program,
)
from layerzero.runtime.export import SnapshotStore, manifest_of
from layerzero.runtime.snapshot import Snapshot
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.syntax.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["export"], help="what to do")
    add_paths(parser)
    parser.add_argument("--to", required=True, metavar="FOLDER", help="where to store it; what is there stays")
    add_json(parser)
    add_program_options(parser)
    add_environment_options(parser, device=False)


def run(args: argparse.Namespace) -> int:
    loaded = program(args)
    snapshot = Snapshot(Vocabulary.of(loaded), environment(args, loaded), loaded)
    manifest = manifest_of(snapshot)
    digest = SnapshotStore(args.to).put(manifest, loaded)
    if args.json:
        print_json({"snapshot": digest, "policy": dict(manifest.data["policy"]), "texts": len(manifest.texts)})
    else:
        name = visible(f'policy "{loaded.name}" {loaded.digest[:12]}')
        print(f"{name} with {counted(len(manifest.texts), 'text')}: snapshot {digest} in {visible(args.to)}")
    return 0
