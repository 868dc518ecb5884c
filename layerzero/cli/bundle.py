"""Pack a policy into one signed file for many machines, and put it in front of them.

    lz bundle keygen NAME                              NAME.key signs, NAME.pub is what nodes trust
    lz bundle build PATHS --to FILE [--version N]      the same files give the same bytes
    lz bundle sign FILE --key NAME.key [--share 5]     for a share of the nodes, in percent; all without --share
    lz bundle verify FILE --trust NAME.pub             what is in it; exit code 1 where no node would take it
    lz bundle push FILE URL --trust NAME.pub           to a source: https://, redis://, etcd://, file://

Nodes follow it with `lz.configure(URL, watch=True, trust="NAME.pub")`; `lz fleet` shows how they do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzero.cli.output import counted, print_json, style
from layerzero.cli.programs import add_json, catalogs, day, one_root
from layerzero.errors import ArgumentError

if TYPE_CHECKING:
    from layerzero.fleet.bundle import Bundle, Sealed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    keygen = actions.add_parser("keygen", help="make a pair of keys")
    keygen.add_argument("name", type=Path, metavar="NAME", help="writes NAME.key and NAME.pub")
    build = actions.add_parser("build", help="put a policy, with all that it imports, into an unsigned bundle")
    build.add_argument("paths", nargs="+", metavar="PATH", help="`.lzp` files or a folder: one policy")
    build.add_argument("--to", required=True, type=Path, metavar="FILE", help="the bundle to write")
    build.add_argument("--name", help="of the bundle (default: the policy's)")
    build.add_argument("--version", type=int, metavar="N", help="grows with each bundle (default: the policy's)")
    build.add_argument("--from", dest="not_before", type=day, metavar="DATE", help="valid from 00:00 UTC of this day")
    build.add_argument("--until", type=day, metavar="DATE", help="valid before 00:00 UTC of this day")
    build.add_argument(
        "--catalog", action="append", default=[], metavar="PATH", help="facts to bring along (may be repeated)"
    )
    sign = actions.add_parser("sign", help="sign a bundle, in place")
    _add_file(sign)
    sign.add_argument("--key", required=True, metavar="FILE", help="the private key")
    sign.add_argument("--share", type=float, metavar="PERCENT", help="of the nodes that it is for (default: all)")
    verify = actions.add_parser("verify", help="show what is in a bundle, if a trusted key has signed it")
    _add_file(verify)
    _add_trust(verify)
    verify.add_argument("--now", type=day, metavar="DATE", help="the day, from 00:00 UTC (default: now)")
    push = actions.add_parser("push", help="put a signed bundle in front of the nodes that follow a source")
    _add_file(push)
    push.add_argument("url", metavar="URL", help="the source, as in redis://host:6379/0/prod")
    _add_trust(push)
    for action in (keygen, build, sign, verify, push):
        add_json(action)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a bundle")


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="append", required=True, metavar="PATH", help="public keys: a file, or a folder of *.pub"
    )


def run(args: argparse.Namespace) -> int:
    from layerzero.fleet.bundle import BundleError

    actions = {"keygen": _keygen, "build": _build, "sign": _sign, "verify": _verify, "push": _push}
    try:
        return actions[args.action](args)
    except BundleError as error:
        if args.json:
            print_json({"error": str(error)})
        print(f"lz bundle {args.action}: {style(sys.stderr).bad('refused')}: {error}", file=sys.stderr)
        return 1


def _keygen(args: argparse.Namespace) -> int:
    from layerzero.fleet.keys import generate

    secret, public = generate(args.name)
    if args.json:
        print_json({"private": str(secret), "public": str(public)})
    else:
        print(f"{secret} signs: keep it where nodes cannot read it\n{public} is what nodes trust")
    return 0


def _build(args: argparse.Namespace) -> int:
    from layerzero.fleet.building import build

    sealed = build(
        one_root(args.paths),
        catalogs(args),
        name=args.name,
        version=args.version,
        not_before=_midnight(args.not_before),
        expires=_midnight(args.until),
    )
    return _written(args, sealed, "not signed")


def _sign(args: argparse.Namespace) -> int:
    from layerzero.fleet.building import with_share
    from layerzero.fleet.keys import load_private

    sealed = with_share(_read(args.file), 100.0 if args.share is None else args.share)
    sealed = sealed.signed(load_private(args.key), sealed.share)
    if os.name == "posix" and os.stat(args.key).st_mode & 0o077:
        print(f"lz bundle sign: warning: others may read {args.key}; `chmod 600` it", file=sys.stderr)
    args.to = args.file
    return _written(
        args, sealed, f"{counted(len(sealed.signatures), 'signature')}, for {sealed.share / 100:g} % of nodes"
    )


def _written(args: argparse.Namespace, sealed: Sealed, what: str) -> int:
    from layerzero.runtime.whole_file import replace_file

    replace_file(args.to, sealed.to_bytes())
    if args.json:
        print_json({"file": str(args.to), "digest": sealed.digest, "share": sealed.share / 100})
    else:
        print(f"{args.to}: bundle {sealed.digest[:12]}, {what}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from layerzero.fleet.bundle import open_sealed
    from layerzero.fleet.keys import Trust
    from layerzero.fleet.rollout import RolloutState, admit

    bundle = open_sealed(_read(args.file), Trust.load(args.trust))
    admit(bundle, RolloutState(), _midnight(args.now) or datetime.now(UTC))
    if args.json:
        print_json(_data(bundle))
        return 0
    manifest = bundle.manifest
    print(f"{bundle}, signed by {', '.join(bundle.signed_by)}, for {bundle.share / 100:g} % of nodes")
    for label, moment in (("valid from", manifest.not_before), ("valid until", manifest.expires)):
        if moment is not None:
            print(f"  {label} {moment:%Y-%m-%d %H:%M} UTC")
    for (name, digest), size in zip(manifest.files.items(), manifest.sizes, strict=True):
        print(f"  {name}  {size} bytes  {digest[:12]}")
    return 0


def _push(args: argparse.Namespace) -> int:
    from layerzero.fleet.building import push
    from layerzero.fleet.keys import Trust
    from layerzero.fleet.source import open_source, shown

    with closing(open_source(args.url)) as source:
        release = push(source, _read(args.file), Trust.load(args.trust), datetime.now(UTC))
    if args.json:
        print_json({"url": shown(args.url), "release": [_data(one) for one in release]})
        return 0
    for one in release:
        print(f"{shown(args.url)}: {one}, for {'everybody else' if one is not release[0] else one.whom}")
    return 0


def _read(file: Path) -> Sealed:
    """The one bundle in a file."""
    from layerzero.fleet.bundle import MAX_BUNDLE_BYTES, split

    with file.open("rb") as stream:
        found = split(stream.read(MAX_BUNDLE_BYTES + 1))
    if len(found) > 1:
        raise ArgumentError(f"{file} holds a whole release, not one bundle")
    return found[0]


def _data(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    times: Sequence[datetime | None] = (manifest.not_before, manifest.expires)
    not_before, expires = (None if one is None else one.isoformat() for one in times)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "share": bundle.share / 100,
        "signed_by": list(bundle.signed_by),
        "not_before": not_before,
        "expires": expires,
        "files": dict(manifest.files),
    }


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC)
